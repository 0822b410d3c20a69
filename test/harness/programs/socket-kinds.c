/*
 * TCP sockets that node:net cannot make: Fast Open, Multipath TCP, MD5 signatures (RFC 2385). One connection each.
 *
 *   socket-kinds connect KIND HOST PORT TEXT    sends TEXT, shuts down, prints what comes back until the end
 *   socket-kinds serve KIND PORT                prints "listening", then the text of each connection, and sends it back
 *
 * KIND is tfo, mptcp, md5, or anything else for plain TCP. A tfo client puts TEXT into its SYN (TCP_FASTOPEN_CONNECT: connect() returns
 * at once, the first write opens). If a call fails: exit status 1, and errno's text on stderr; every call gives up after 5 s.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef TCP_FASTOPEN_CONNECT
#define TCP_FASTOPEN_CONNECT 30
#endif

static void check(int result, const char *what) {
  if (result >= 0) return;
  perror(what);
  exit(1);
}

static int open_socket(int family, const char *kind) {
  int fd = socket(family, SOCK_STREAM, strcmp(kind, "mptcp") == 0 ? IPPROTO_MPTCP : IPPROTO_TCP);
  struct timeval limit = {.tv_sec = 5};
  check(fd, "socket");
  check(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), "SO_SNDTIMEO");
  return fd;
}

/* Every segment to and from any peer of this family (as an IPv6 socket sees it) is signed, with a key that all share. */
static void sign(int fd, int family, const char *any) {
  struct tcp_md5sig key = {.tcpm_flags = TCP_MD5SIG_FLAG_PREFIX, .tcpm_keylen = 6, .tcpm_key = "secret"};
  if (family == AF_INET) {
    ((struct sockaddr_in *)&key.tcpm_addr)->sin_family = AF_INET;
  } else {
    struct sockaddr_in6 *peer = (struct sockaddr_in6 *)&key.tcpm_addr;
    peer->sin6_family = AF_INET6;
    inet_pton(AF_INET6, any, &peer->sin6_addr);
  }
  check(setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG_EXT, &key, sizeof key), "TCP_MD5SIG_EXT");
}

/* Reads until the end of the stream. */
static size_t read_all(int fd, char *into, size_t room) {
  size_t length = 0;
  for (;;) {
    ssize_t got = read(fd, into + length, room - length);
    check((int)got, "read");
    if (got == 0) return length;
    length += (size_t)got;
  }
}

static int connect_once(const char *kind, const char *host, const char *port, const char *text) {
  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found;
  struct timeval limit = {.tv_sec = 5};
  int one = 1;
  char answer[4096];
  if (getaddrinfo(host, port, &hints, &found) != 0) return 2;
  int fd = open_socket(found->ai_family, kind);
  check(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), "SO_RCVTIMEO");
  if (strcmp(kind, "tfo") == 0)
    check(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof one), "TCP_FASTOPEN_CONNECT");
  if (strcmp(kind, "md5") == 0) sign(fd, found->ai_family, "::");
  check(connect(fd, found->ai_addr, found->ai_addrlen), "connect");
  check((int)write(fd, text, strlen(text)), "write");
  check(shutdown(fd, SHUT_WR), "shutdown");
  size_t length = read_all(fd, answer, sizeof answer);
  printf("%.*s\n", (int)length, answer);
  return 0;
}

_Noreturn static void serve(const char *kind, const char *port) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)atoi(port))};
  int one = 1, queue = 16;
  int listener = open_socket(AF_INET6, kind);
  setvbuf(stdout, NULL, _IOLBF, 0);
  check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), "SO_REUSEADDR");
  check(bind(listener, (struct sockaddr *)&any, sizeof any), "bind");
  if (strcmp(kind, "tfo") == 0)
    check(setsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue), "TCP_FASTOPEN");
  if (strcmp(kind, "md5") == 0) {
    sign(listener, AF_INET6, "::");
    sign(listener, AF_INET6, "::ffff:0.0.0.0");
  }
  check(listen(listener, 16), "listen");
  printf("listening\n");
  for (;;) {
    char text[4096];
    int fd = accept(listener, NULL, NULL);
    check(fd, "accept");
    printf("accepted\n");
    size_t length = read_all(fd, text, sizeof text);
    printf("received %.*s\n", (int)length, text);
    check((int)write(fd, text, length), "write");
    close(fd);
  }
}

int main(int argc, char **argv) {
  if (argc == 6 && strcmp(argv[1], "connect") == 0) return connect_once(argv[2], argv[3], argv[4], argv[5]);
  if (argc == 4 && strcmp(argv[1], "serve") == 0) serve(argv[2], argv[3]);
  fprintf(stderr, "usage: see the source\n");
  return 2;
}
