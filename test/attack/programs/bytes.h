/* What the attack programs share: bytes from their hexadecimal text, and how a step ended. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline size_t parse_bytes(const char *text, uint8_t *into, size_t size) {
  size_t length = strlen(text) / 2;
  if (length > size) exit(2);
  for (size_t i = 0; i < length; i++)
    if (sscanf(text + 2 * i, "%2hhx", &into[i]) != 1) exit(2);
  return length;
}

/* Prints the step and the name of its errno, or "ok"; the exit status stays 0: a refusal is a result. */
static inline int report(const char *step, long result) {
  printf("%s %s\n", step, result < 0 ? strerrorname_np(errno) : "ok");
  fflush(stdout);
  return result >= 0;
}
