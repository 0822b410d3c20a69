/*
 * A redirecting sidecar's proxy: sidecar USER PORT…. Takes the connections that a REDIRECT sends to its ports, both families,
 * and connects on, as the user given, to where each was going; says "PORT -> ADDRESS PORT" for each.
 * Sources: SO_ORIGINAL_DST (linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h).
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ORIGINAL_DESTINATION 80
#define PORTS_MAX 8

static int listen_at(int port) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
  const int one = 1;
  int fd = socket(AF_INET6, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) != 0 || listen(fd, 64) != 0) exit(2);
  return fd;
}

/* Where the connection was going; an IPv4 one arrives at the IPv6 socket as a mapped one. */
static struct sockaddr_in6 destination_of(int fd) {
  struct sockaddr_in6 to = {0};
  struct sockaddr_in to4;
  socklen_t length = sizeof to, length4 = sizeof to4;
  getsockname(fd, (struct sockaddr *)&to, &length);
  if (!IN6_IS_ADDR_V4MAPPED(&to.sin6_addr)) {
    length = sizeof to;
    if (getsockopt(fd, IPPROTO_IPV6, ORIGINAL_DESTINATION, &to, &length) != 0) exit(3);
    return to;
  }
  if (getsockopt(fd, IPPROTO_IP, ORIGINAL_DESTINATION, &to4, &length4) != 0) exit(3);
  memcpy(&to.sin6_addr.s6_addr[12], &to4.sin_addr, 4);
  to.sin6_port = to4.sin_port;
  return to;
}

/* Copies both ways until both have said their last. */
static void splice_both(int a, int b) {
  struct pollfd ends[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
  static char buffer[65536];
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    if (poll(ends, 2, -1) < 0) return;
    for (int i = 0; i < 2; i++) {
      if (ends[i].fd < 0 || ends[i].revents == 0) continue;
      const int other = i == 0 ? b : a;
      ssize_t got = read(ends[i].fd, buffer, sizeof buffer);
      if (got < 0) return;
      if (got == 0) {
        shutdown(other, SHUT_WR);
        ends[i].fd = -1;
      }
      for (ssize_t sent = 0; sent < got;) {
        ssize_t now = write(other, buffer + sent, (size_t)(got - sent));
        if (now < 0) return;
        sent += now;
      }
    }
  }
}

static void serve(int fd, int port) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  char text[INET6_ADDRSTRLEN];
  struct sockaddr_in6 to = destination_of(fd);
  printf("%d -> %s %d\n", port, inet_ntop(AF_INET6, &to.sin6_addr, text, sizeof text), ntohs(to.sin6_port));
  fflush(stdout);
  int onward = socket(AF_INET6, SOCK_STREAM, 0);
  if (connect(onward, (struct sockaddr *)&to, sizeof to) == 0) splice_both(fd, onward);
  exit(0);
}

int main(int count, char **values) {
  struct pollfd listening[PORTS_MAX];
  const int ports = count - 2;
  if (ports < 1 || ports > PORTS_MAX) return 1;
  for (int i = 0; i < ports; i++) listening[i] = (struct pollfd){.fd = listen_at(atoi(values[i + 2])), .events = POLLIN};
  signal(SIGCHLD, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  if (setgid((gid_t)atoi(values[1])) != 0 || setuid((uid_t)atoi(values[1])) != 0) return 1;
  puts("listening");
  fflush(stdout);
  while (poll(listening, (nfds_t)ports, -1) > 0) {
    for (int i = 0; i < ports; i++) {
      if (listening[i].revents == 0) continue;
      int fd = accept(listening[i].fd, NULL, NULL);
      if (fork() == 0) serve(fd, atoi(values[i + 2]));
      close(fd);
    }
  }
  return 1;
}
