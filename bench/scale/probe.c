// SPDX-License-Identifier: MIT OR GPL-2.0
// What the benchmark compares with, or needs beside it, in C.
//   probe loop           reads the clock until stdin ends; prints the longest time between two reads, nanoseconds
//   probe send DEV DST SRC   sends 64-byte frames on DEV until stdin ends, with pauses so that it takes a part of a CPU only
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME_BYTES	60
#define FRAMES_PER_BURST	8
#define PAUSE_NS	50000

static unsigned long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

// Looked at once in 4096 rounds: the system call must not be the gap.
static int is_over(unsigned long long round)
{
	char byte;

	return (round & 4095) == 0 && read(0, &byte, 1) == 0;
}

static int loop(void)
{
	unsigned long long last = now_ns(), longest = 0;

	for (unsigned long long round = 1; !is_over(round); round++) {
		unsigned long long now = now_ns();

		if (now - last > longest)
			longest = now - last;
		last = now;
	}
	printf("%llu\n", longest);
	return 0;
}

// From the EtherType on: IPv4, 46 bytes, 10.0.0.1 to 10.0.0.2, header checksum 0x66cd; ICMP echo request, its checksum right as well. (A
// datagram without a checksum might be a tunnel's, and goes the kernel's way.)
static const unsigned char ip_icmp[] = {
	0x08, 0x00, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 1, 0x66, 0xcd, 10, 0, 0, 1, 10, 0, 0, 2, 8, 0, 0xf7, 0xff, 0, 0, 0, 0,
};

static int parse_mac(const char *text, unsigned char *mac)
{
	return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) == 6;
}

static int send_frames(const char *device, const char *destination, const char *source)
{
	unsigned char frame[FRAME_BYTES] = { 0 };
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(device) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || to.sll_ifindex == 0 || !parse_mac(destination, frame) || !parse_mac(source, frame + 6)) {
		perror(device);
		return 1;
	}
	memcpy(frame + 12, ip_icmp, sizeof ip_icmp);
	for (unsigned long long round = 0; round % 64 != 0 || !is_over(round << 6); round++) {
		const struct timespec pause = { .tv_nsec = PAUSE_NS };

		for (int i = 0; i < FRAMES_PER_BURST; i++)
			sendto(fd, frame, sizeof frame, 0, (struct sockaddr *)&to, sizeof to);
		nanosleep(&pause, 0);
	}
	return 0;
}

int main(int argc, char **argv)
{
	fcntl(0, F_SETFL, O_NONBLOCK);
	if (argc == 2 && strcmp(argv[1], "loop") == 0)
		return loop();
	if (argc == 5 && strcmp(argv[1], "send") == 0)
		return send_frames(argv[2], argv[3], argv[4]);
	fprintf(stderr, "usage: probe loop | probe send DEVICE DESTINATION SOURCE\n");
	return 2;
}
