/* The device process of XRT's emulation, ours: XRT's shim starts it and talks to it over a socket,
   one call at a time. A call is a head of 14 bytes (fixed64 size, fixed32 number) and a message, an
   answer a head of 9 bytes (fixed64 size) and a message. What comes is checked: a message that does
   not parse ends the process, an address outside the card is refused.

   sw_emu: no arguments. hw_emu: XML SO MIB, started by simulate.sh out of the bitstream. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "card.h"
#include "pb.h"

#define CALL_HEAD_SZ 14u
#define ANSWER_HEAD_SZ 9u
#define MESSAGE_MAX_SZ (64u << 20)
#define READ_MAX_SZ (64u << 20)
#define CONNECT_TRIES 10000 /* of a millisecond: the shim starts us before it listens */
#define PATH_SZ 1024u

/* Calls of XRT 2.13 that a host without streams and graphs makes. */
enum call {
  CALL_CLOSE = 1,
  CALL_LOAD = 3,
  CALL_ALLOC = 4,
  CALL_FREE = 5,
  CALL_TO_DEVICE = 6,
  CALL_FROM_DEVICE = 7,
  CALL_WRITE_RAM = 8,
  CALL_WRITE_CONTROL = 9,
  CALL_READ_RAM = 10,
  CALL_READ_CONTROL = 11,
  CALL_TIMESTAMP = 17,
  CALL_BUS_STATUS = 18,
  CALL_MESSAGES = 19,
  CALL_ENVIRONMENT = 20,
  CALL_COPY_BO = 22,
  CALL_IMPORT_BO = 27,
  CALL_SETUP = 28,
  CALL_COPY_BO_FD = 50,
  CALL_WRITE_REGISTER = 51,
  CALL_READ_REGISTER = 52
};

typedef struct {
  int fd;
  qr_emu_card_t *card;
  bool is_hw_emu; /* no load call comes: the process has its bitstream from the start */
  uint8_t *buf;
  size_t buf_sz;
} model_t;

/* ---- the socket ---- */

static bool receive(int fd, void *to, size_t sz) {
  for (uint8_t *p = to; sz;) {
    ssize_t n = read(fd, p, sz);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    sz -= (size_t)n;
  }
  return true;
}

static bool transmit(int fd, const void *from, size_t sz) {
  for (const uint8_t *p = from; sz;) {
    ssize_t n = send(fd, p, sz, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    sz -= (size_t)n;
  }
  return true;
}

static int connect_host(void) {
  struct sockaddr_un sa = {.sun_family = AF_UNIX};
  const char *user = getenv("USER"), *id = getenv("EMULATION_SOCKETID");
  int n = user && id ? snprintf(sa.sun_path, sizeof sa.sun_path, "/tmp/%s/%s", user, id) : -1;
  if (n < 0 || (size_t)n >= sizeof sa.sun_path) return -1;
  for (int i = 0; i < CONNECT_TRIES; i++) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (!connect(fd, (struct sockaddr *)&sa, sizeof sa)) return fd;
    close(fd);
    struct timespec ms = {0, 1000000};
    nanosleep(&ms, NULL);
  }
  return -1;
}

/* ---- answers ---- */

static bool answer_head(model_t *m, const uint8_t *body, size_t body_sz, size_t data_sz) {
  uint8_t out[ANSWER_HEAD_SZ + 32] = {0x09};
  uint64_t sz = body_sz + data_sz;
  memcpy(out + 1, &sz, sizeof sz);
  memcpy(out + ANSWER_HEAD_SZ, body, body_sz);
  return transmit(m->fd, out, ANSWER_HEAD_SZ + body_sz);
}

static bool answer(model_t *m, uint64_t first) {
  uint8_t body[16];
  return answer_head(m, body, qr_pb_put_num(body, 1, first), 0);
}

/* All fields of the answer are optional. */
static bool answer_nothing(model_t *m) { return answer_head(m, (const uint8_t *)"", 0, 0); }

/* A number and the bytes read. */
static bool answer_data(model_t *m, uint64_t first, const void *data, size_t sz) {
  uint8_t body[32];
  size_t n = qr_pb_put_num(body, 1, first);
  n += qr_pb_put_bytes_head(body + n, 2, sz);
  return answer_head(m, body, n, sz) && transmit(m->fd, data, sz);
}

/* ---- calls ---- */

static void path_from(const qr_pb_field_t *f, char out[PATH_SZ]) {
  size_t n = f->at && f->num < PATH_SZ ? (size_t)f->num : 0;
  if (n) memcpy(out, f->at, n);
  out[n] = 0;
}

/* Sum of the sizes of the memory banks: field 7 of every field 8. */
static bool memory_wanted(const uint8_t *p, size_t sz, uint64_t *out) {
  qr_pb_field_t f;
  qr_pb_msg_t bank;
  int field;
  *out = 0;
  for (const uint8_t *end = p + sz; (field = qr_pb_next(&p, end, &f)) > 0;) {
    if (field != 8) continue;
    if (!f.at || !qr_pb_parse(f.at, (size_t)f.num, &bank) ||
        __builtin_add_overflow(*out, bank.f[7].num, out))
      return false;
  }
  return true;
}

static bool load(model_t *m, const qr_pb_msg_t *msg, size_t sz) {
  char xml[PATH_SZ], so[PATH_SZ];
  uint64_t memory;
  path_from(&msg->f[1], xml);
  path_from(&msg->f[2], so);
  if (!memory_wanted(m->buf, sz, &memory) || !qr_emu_card_memory(m->card, memory))
    return answer(m, 0);
  /* buffers may be asked for before any bitstream: then there is memory alone */
  return answer(m, (!*xml && !*so) || qr_emu_card_load(m->card, xml, so));
}

static bool store(model_t *m, uint64_t addr, const qr_pb_field_t *data, uint64_t yes) {
  void *to = data->at ? qr_emu_card_at(m->card, addr, data->num) : NULL;
  if (to) memcpy(to, data->at, (size_t)data->num);
  return answer(m, to ? yes : 0);
}

static bool fetch(model_t *m, uint64_t addr, uint64_t sz, uint64_t yes) {
  const void *from = sz <= READ_MAX_SZ ? qr_emu_card_at(m->card, addr, sz) : NULL;
  return answer_data(m, from ? yes : 0, from, from ? (size_t)sz : 0);
}

static bool write_registers(model_t *m, uint64_t addr, const qr_pb_field_t *data) {
  return answer(m, data->at && qr_emu_card_write(m->card, addr, data->at, (size_t)data->num));
}

static bool read_register(model_t *m, uint64_t addr) {
  uint8_t value[4];
  bool ok = qr_emu_card_read(m->card, addr, value, sizeof value);
  return answer_data(m, ok, value, sizeof value);
}

/* Returns false when there is nothing more to talk about. */
static bool handle(model_t *m, uint32_t call, const qr_pb_msg_t *msg, size_t sz) {
  const qr_pb_field_t *f = msg->f;
  switch (call) {
  case CALL_LOAD: return load(m, msg, sz);
  case CALL_ALLOC: return answer(m, qr_emu_card_at(m->card, f[1].num, f[2].num) != NULL);
  case CALL_TO_DEVICE: return store(m, f[3].num, &f[4], f[5].num);
  case CALL_FROM_DEVICE: return fetch(m, f[4].num, f[5].num, f[5].num);
  case CALL_WRITE_RAM: return store(m, f[2].num, &f[4], 1);
  case CALL_READ_RAM: return fetch(m, f[2].num, f[3].num, 1);
  case CALL_WRITE_CONTROL: return write_registers(m, f[2].num, &f[4]);
  case CALL_READ_CONTROL: return read_register(m, f[2].num);
  case CALL_WRITE_REGISTER: return write_registers(m, f[1].num + f[2].num, &f[3]);
  case CALL_READ_REGISTER: return read_register(m, f[1].num + f[2].num);
  case CALL_CLOSE: qr_emu_card_clear(m->card); return answer(m, 1) && !f[3].num && !m->is_hw_emu;
  case CALL_TIMESTAMP: return answer(m, 0);
  case CALL_BUS_STATUS:
  case CALL_MESSAGES: return answer_nothing(m);
  case CALL_FREE:
  case CALL_ENVIRONMENT:
  case CALL_SETUP:
  case CALL_COPY_BO:
  case CALL_IMPORT_BO:
  case CALL_COPY_BO_FD: return answer(m, 1);
  default: fprintf(stderr, "emulated card: call %u is not known\n", call); return answer(m, 0);
  }
}

static bool make_room(model_t *m, size_t sz) {
  if (sz <= m->buf_sz) return true;
  free(m->buf);
  m->buf = malloc(sz);
  m->buf_sz = m->buf ? sz : 0;
  return m->buf != NULL;
}

/* One call; false at the end of the conversation. */
static bool serve(model_t *m) {
  uint8_t head[CALL_HEAD_SZ];
  qr_pb_msg_t msg;
  if (!receive(m->fd, head, sizeof head)) return false;
  bool ok = qr_pb_parse(head, sizeof head, &msg) && msg.f[1].is_set && msg.f[2].is_set;
  uint64_t sz = msg.f[1].num, call = msg.f[2].num;
  ok = ok && sz <= MESSAGE_MAX_SZ && call <= UINT32_MAX && make_room(m, (size_t)sz);
  if (ok && !receive(m->fd, m->buf, (size_t)sz)) return false;
  if (!ok || !qr_pb_parse(m->buf, (size_t)sz, &msg)) {
    fprintf(stderr, "emulated card: a call that cannot be read\n");
    return false;
  }
  return handle(m, (uint32_t)call, &msg, (size_t)sz);
}

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  model_t m = {.fd = connect_host(), .is_hw_emu = argc > 3};
  if (m.fd < 0) {
    fprintf(stderr, "emulated card: XRT does not listen\n");
    return 1;
  }
  m.card = qr_emu_card_make(getenv("QUARRY_EMU_FAULT"));
  if (!m.card || (m.is_hw_emu && (!qr_emu_card_memory(m.card, strtoull(argv[3], NULL, 10) << 20) ||
                                  !qr_emu_card_load(m.card, argv[1], argv[2])))) {
    fprintf(stderr, "emulated card: QUARRY_EMU_FAULT or the arguments are not understood\n");
    return 1;
  }
  while (serve(&m)) {
  }
  free(m.buf);
  return 0;
}
