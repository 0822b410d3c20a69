/*
 * TCP sockets under orders: reads one command a line from stdin, obeys, and prints one line in answer: `ok …`, or `error NAME` with
 * errno's name. Sockets have names of the caller's choice. Every call gives up after 20 s (error EAGAIN).
 *
 *   listen S PORT BACKLOG [OPTION…]   both families               backlog S N      listen() again, with another backlog
 *   accept S AS [now]                 `ok ADDRESS PORT`, the peer's; `now`: without waiting
 *   connect S HOST PORT [OPTION…]     `ok PORT`, its own
 *   send S COUNT                      bytes of this end's stream; `ok`, or an error
 *   receive S COUNT                   `ok` if exactly the next COUNT bytes of the peer's stream come; `different AT` or `end AT` otherwise
 *   shutdown S                        close S
 *   end S                             `ok` if the peer has closed and nothing is left to read
 *
 * Options: `defer=SECONDS` (TCP_DEFER_ACCEPT), `lazy` (the ACK of the SYN-ACK waits for data), `fastopen` (TCP_FASTOPEN, and for a
 * client TCP_FASTOPEN_CONNECT: connect() returns at once, the first send opens), `send=COUNT` (these bytes, at once).
 * Byte i of a stream is (i * 31 + i / 251) mod 256, plus 1 if a server sends it: a byte lost, doubled or reflected shows.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef TCP_FASTOPEN_CONNECT
#define TCP_FASTOPEN_CONNECT 30
#endif

enum { MOST_SOCKETS = 64, MOST_WORDS = 8, MOST_BYTES = 65536, LIMIT_S = 20 };

struct end {
  char name[16];
  int fd, is_server;
  unsigned long sent, received;
};

static struct end ends[MOST_SOCKETS];
static char *words[MOST_WORDS];
static int word_count;

static void answer(const char *text) { printf("%s\n", text); }

static void report(long result) {
  if (result >= 0) answer("ok");
  else printf("error %s\n", strerrorname_np(errno));
}

static struct end *find(const char *name) {
  for (int i = 0; i < MOST_SOCKETS; i++)
    if (ends[i].fd > 0 && strcmp(ends[i].name, name) == 0) return &ends[i];
  fprintf(stderr, "no socket %s\n", name);
  exit(2);
}

static struct end *take(const char *name, int fd, int is_server) {
  for (int i = 0; i < MOST_SOCKETS; i++) {
    if (ends[i].fd > 0) continue;
    ends[i] = (struct end){.fd = fd, .is_server = is_server};
    snprintf(ends[i].name, sizeof ends[i].name, "%s", name);
    return &ends[i];
  }
  fprintf(stderr, "too many sockets\n");
  exit(2);
}

/* The number of the option `name=NUMBER` among words from `first` on; `name` alone is 1, absence -1. */
static int option(int first, const char *name) {
  size_t length = strlen(name);
  for (int i = first; i < word_count; i++) {
    if (strncmp(words[i], name, length) != 0) continue;
    if (words[i][length] == '\0') return 1;
    if (words[i][length] == '=') return atoi(words[i] + length + 1);
  }
  return -1;
}

static void set_limit(int fd, int seconds) {
  struct timeval limit = {.tv_sec = seconds, .tv_usec = seconds == 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static int set(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof value); }

static unsigned char byte_at(unsigned long i, int of_server) {
  return (unsigned char)(i * 31 + i / 251 + (unsigned long)of_server);
}

static long send_next(struct end *end, unsigned long left) {
  static unsigned char bytes[MOST_BYTES];
  while (left > 0) {
    size_t count = left < sizeof bytes ? left : sizeof bytes;
    for (size_t i = 0; i < count; i++) bytes[i] = byte_at(end->sent + i, end->is_server);
    ssize_t sent = send(end->fd, bytes, count, MSG_NOSIGNAL);
    if (sent < 0) return sent;
    end->sent += (unsigned long)sent;
    left -= (unsigned long)sent;
  }
  return 0;
}

static void do_send(void) { report(send_next(find(words[1]), strtoul(words[2], NULL, 10))); }

static void do_listen(void) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)atoi(words[2]))};
  int fd = socket(AF_INET6, SOCK_STREAM, 0), result = set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (result == 0 && option(4, "defer") > 0)
    result = set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, option(4, "defer"));
  if (result == 0 && option(4, "fastopen") > 0) result = set(fd, IPPROTO_TCP, TCP_FASTOPEN, 16);
  if (result == 0) result = bind(fd, (struct sockaddr *)&any, sizeof any);
  if (result == 0) result = listen(fd, atoi(words[3]));
  take(words[1], fd, 1);
  report(result);
}

static void do_accept(void) {
  struct sockaddr_in6 peer;
  socklen_t length = sizeof peer;
  char text[INET6_ADDRSTRLEN];
  struct end *listener = find(words[1]);
  set_limit(listener->fd, option(3, "now") > 0 ? 0 : LIMIT_S);
  int fd = accept(listener->fd, (struct sockaddr *)&peer, &length);
  if (fd < 0) return report(fd);
  set_limit(fd, LIMIT_S);
  take(words[2], fd, 1);
  inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof text);
  printf("ok %s %u\n", text, ntohs(peer.sin6_port));
}

/* An IPv4 address has its port at the same place. */
static unsigned own_port(int fd) {
  struct sockaddr_in6 own = {0};
  socklen_t length = sizeof own;
  getsockname(fd, (struct sockaddr *)&own, &length);
  return ntohs(own.sin6_port);
}

static void do_connect(void) {
  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found;
  if (getaddrinfo(words[2], words[3], &hints, &found) != 0) exit(2);
  int fd = socket(found->ai_family, SOCK_STREAM, 0);
  set_limit(fd, LIMIT_S);
  if (option(4, "lazy") > 0) set(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
  if (option(4, "fastopen") > 0) set(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
  struct end *end = take(words[1], fd, 0);
  long result = connect(fd, found->ai_addr, found->ai_addrlen);
  if (result == 0 && option(4, "send") > 0) result = send_next(end, (unsigned long)option(4, "send"));
  freeaddrinfo(found);
  if (result < 0) report(result);
  else printf("ok %u\n", own_port(fd));
}

static void do_receive(void) {
  static unsigned char bytes[MOST_BYTES];
  struct end *end = find(words[1]);
  for (unsigned long left = strtoul(words[2], NULL, 10); left > 0;) {
    ssize_t got = recv(end->fd, bytes, left < sizeof bytes ? left : sizeof bytes, 0);
    if (got < 0) return report(got);
    if (got == 0) return (void)printf("end %lu\n", end->received);
    for (ssize_t i = 0; i < got; i++, end->received++)
      if (bytes[i] != byte_at(end->received, !end->is_server)) return (void)printf("different %lu\n", end->received);
    left -= (unsigned long)got;
  }
  report(0);
}

static void do_end(void) {
  char byte;
  ssize_t got = recv(find(words[1])->fd, &byte, 1, 0);
  if (got > 0) answer("more");
  else report(got);
}

static void do_close(void) {
  struct end *end = find(words[1]);
  int result = close(end->fd);
  end->fd = 0;
  report(result);
}

static void obey(void) {
  const char *verb = words[0];
  if (strcmp(verb, "listen") == 0) do_listen();
  else if (strcmp(verb, "backlog") == 0) report(listen(find(words[1])->fd, atoi(words[2])));
  else if (strcmp(verb, "accept") == 0) do_accept();
  else if (strcmp(verb, "connect") == 0) do_connect();
  else if (strcmp(verb, "send") == 0) do_send();
  else if (strcmp(verb, "receive") == 0) do_receive();
  else if (strcmp(verb, "shutdown") == 0) report(shutdown(find(words[1])->fd, SHUT_WR));
  else if (strcmp(verb, "end") == 0) do_end();
  else if (strcmp(verb, "close") == 0) do_close();
  else exit(2);
}

int main(void) {
  char line[256];
  setvbuf(stdout, NULL, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin) != NULL) {
    word_count = 0;
    for (char *word = strtok(line, " \n"); word != NULL && word_count < MOST_WORDS; word = strtok(NULL, " \n"))
      words[word_count++] = word;
    for (int i = word_count; i < MOST_WORDS; i++) words[i] = "";
    if (word_count > 0) obey();
  }
  return 0;
}
