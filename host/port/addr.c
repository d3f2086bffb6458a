#include <arpa/inet.h>
#include <stdio.h>

#include "port/link.h"

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

bool qr_link_addr_is_v4(const qr_link_addr_t *a) {
  return !memcmp(a->ip, v4_prefix, sizeof v4_prefix);
}

/* "a.b.c.d" or an IPv6 address without zone. */
static bool parse_ip(const char *s, size_t sz, bool v6, uint8_t ip[16]) {
  char text[INET6_ADDRSTRLEN];
  if (sz >= sizeof text) return false;
  memcpy(text, s, sz);
  text[sz] = 0;
  if (v6) return inet_pton(AF_INET6, text, ip) == 1;
  memcpy(ip, v4_prefix, sizeof v4_prefix);
  return inet_pton(AF_INET, text, ip + 12) == 1;
}

static bool parse_port(const char *s, uint16_t *out) {
  uint32_t v = 0;
  if (!*s) return false;
  for (; *s; s++) {
    if (*s < '0' || *s > '9') return false;
    v = v * 10 + (uint32_t)(*s - '0');
    if (v > 65535) return false;
  }
  *out = (uint16_t)v;
  return v != 0;
}

bool qr_link_addr_parse(const char *s, uint16_t default_port, qr_link_addr_t *out) {
  qr_link_addr_t a = {.port = default_port};
  const char *host = s, *end, *colon = strchr(s, ':');
  bool bracketed = *s == '[', v6 = bracketed || (colon && strchr(colon + 1, ':'));
  if (bracketed) {
    host++;
    end = strchr(host, ']');
    if (!end) return false;
    colon = end[1] ? end + 1 : NULL;
    if (colon && *colon != ':') return false;
  } else {
    if (v6) colon = NULL; /* without brackets, every colon is the address's */
    end = colon ? colon : s + strlen(s);
  }
  if (colon && !parse_port(colon + 1, &a.port)) return false;
  if (!parse_ip(host, (size_t)(end - host), v6, a.ip)) return false;
  *out = a;
  return true;
}

char *qr_link_addr_str(const qr_link_addr_t *a, char *out) {
  char ip[INET6_ADDRSTRLEN];
  bool v4 = qr_link_addr_is_v4(a);
  if (!inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a->ip + 12 : a->ip, ip, sizeof ip)) ip[0] = 0;
  snprintf(out, QR_LINK_ADDR_STR_SZ, v4 ? "%s:%u" : "[%s]:%u", ip, a->port);
  return out;
}
