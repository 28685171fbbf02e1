# fish completion for xfp, which itself knows what can follow: xfp '[complete]' WORD... CURRENT
complete -c xfp -f -a "(set -l words (commandline -opc) (commandline -ct); \$words[1] '[complete]' \$words[2..] 2>/dev/null)"
