#include "port/link.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

bool qr_link_addr_parse(const char *s, uint16_t default_port, qr_link_addr_t *out) {
  char host[64];
  const char *colon = strchr(s, ':');
  size_t n = colon ? (size_t)(colon - s) : strlen(s);
  if (n >= sizeof host) return false;
  memcpy(host, s, n);
  host[n] = 0;
  unsigned long port = default_port;
  if (colon) {
    char *end;
    if (colon[1] < '0' || colon[1] > '9') return false;
    port = strtoul(colon + 1, &end, 10);
    if (*end || !port || port > 65535) return false;
  }
  struct in_addr v4;
  if (inet_pton(AF_INET, host, &v4) != 1) return false;
  memset(out, 0, sizeof *out);
  out->ip[10] = out->ip[11] = 0xff;
  memcpy(out->ip + 12, &v4, 4);
  out->port = (uint16_t)port;
  return true;
}

char *qr_link_addr_str(const qr_link_addr_t *a, char *out) {
  snprintf(out, 56, "%u.%u.%u.%u:%u", a->ip[12], a->ip[13], a->ip[14], a->ip[15], a->port);
  return out;
}
