/* Prints the text WORD, eight bytes of a frame, whenever a frame comes in that has it behind "ATTACK:"; until it is ended. Source: packet(7). */
#define _GNU_SOURCE
#include "bytes.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

int main(void) {
  static const char sign[] = "ATTACK:";
  uint8_t frame[65536];
  int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  struct sockaddr_ll from;
  printf("watching\n");
  fflush(stdout);
  for (;;) {
    socklen_t size = sizeof from;
    ssize_t length = recvfrom(fd, frame, sizeof frame, 0, (struct sockaddr *)&from, &size);
    if (length < 0) return 1;
    if (from.sll_pkttype == PACKET_OUTGOING) continue;
    uint8_t *found = memmem(frame, (size_t)length, sign, sizeof sign - 1);
    if (found == NULL || found + sizeof sign - 1 + 8 > frame + length) continue;
    printf("%.8s\n", found + sizeof sign - 1);
    fflush(stdout);
  }
}
