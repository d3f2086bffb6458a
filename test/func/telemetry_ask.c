/* Asks a DPDK telemetry socket, and prints what it says: telemetry_ask <socket> <command>. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char answer[65536];

static int fail(const char *what) {
  perror(what);
  return 1;
}

int main(int argc, char **argv) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  if (argc != 3 || strlen(argv[1]) >= sizeof at.sun_path) {
    fprintf(stderr, "usage: telemetry_ask <socket> <command>\n");
    return 1;
  }
  strcpy(at.sun_path, argv[1]);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  struct timeval limit = {.tv_sec = 5};
  if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at)) return fail(argv[1]);
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (recv(fd, answer, sizeof answer - 1, 0) < 0) return fail("no greeting");
  ssize_t n =
      send(fd, argv[2], strlen(argv[2]), 0) < 0 ? -1 : recv(fd, answer, sizeof answer - 1, 0);
  if (n < 0) return fail("no answer");
  answer[n] = 0;
  puts(answer);
  close(fd);
  return 0;
}
