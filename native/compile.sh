#!/bin/sh
# Compiles a BPF program: compile.sh SOURCE.bpf.c OUTPUT.o
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec clang -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -target bpf -mcpu=v3 \
	-I"/usr/include/$(uname -m)-linux-gnu" -c "$here/$1" -o "$2"
