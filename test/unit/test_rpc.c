/* The control socket against hostile, slow, silent and ordinary clients, with a fake clock and no
 * node behind it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
/* cmocka.h needs setjmp.h and stdarg.h before it */
#include <cmocka.h>

#include "app/rpc.h"
#include "app/rpc_json.h"
#include "base/err.h"
#include "base/log.h"

#define SECOND 1000000000ull

typedef struct {
  char dir[64], path[96], why[256];
  void *query_mem, *reply_mem;
  qr_ring_t *queries, *replies;
  qr_rpc_t *rpc;
  uint64_t now_ns;
} fixture_t;

static int open_fixture(void **state) {
  fixture_t *f = calloc(1, sizeof *f);
  snprintf(f->dir, sizeof f->dir, "/tmp/quarry-test-rpc-XXXXXX");
  assert_non_null(mkdtemp(f->dir));
  snprintf(f->path, sizeof f->path, "%s/s", f->dir);
  f->query_mem = aligned_alloc(64, qr_ring_footprint(4, sizeof(qr_query_t)));
  f->reply_mem = aligned_alloc(64, qr_ring_footprint(4, sizeof(qr_reply_t)));
  f->queries = qr_ring_init(f->query_mem, 4, sizeof(qr_query_t));
  f->replies = qr_ring_init(f->reply_mem, 4, sizeof(qr_reply_t));
  f->now_ns = 100 * SECOND;
  assert_int_equal(qr_rpc_init(f->path, f->queries, f->replies, &f->rpc, f->why, sizeof f->why), 0);
  *state = f;
  return 0;
}

static int close_fixture(void **state) {
  fixture_t *f = *state;
  char lock[128];
  qr_rpc_fini(f->rpc);
  assert_int_not_equal(access(f->path, F_OK), 0); /* gone with its owner */
  snprintf(lock, sizeof lock, "%s.lock", f->path);
  unlink(lock);
  assert_int_equal(rmdir(f->dir), 0);
  free(f->query_mem);
  free(f->reply_mem);
  free(f);
  return 0;
}

static int dial(const fixture_t *f) {
  struct sockaddr_un sa = {.sun_family = AF_UNIX};
  snprintf(sa.sun_path, sizeof sa.sun_path, "%s", f->path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
  return fd;
}

static void turn(fixture_t *f, int cnt) {
  while (cnt--) {
    f->now_ns += 2000000;
    qr_rpc_poll(f->rpc, f->now_ns);
  }
}

static void say(fixture_t *f, int fd, const char *text) {
  assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
  turn(f, 4);
}

/* What the server has said so far; "" if nothing. */
static const char *hear(int fd) {
  static char buf[QR_RPC_ANSWER_MAX_SZ + 1];
  ssize_t n = recv(fd, buf, sizeof buf - 1, MSG_DONTWAIT);
  buf[n > 0 ? n : 0] = 0;
  return buf;
}

static bool is_closed(int fd) {
  char b;
  return recv(fd, &b, 1, MSG_DONTWAIT) == 0;
}

static void answer(fixture_t *f, qr_reply_t *r) {
  qr_query_t q;
  assert_true(qr_ring_pop(f->queries, &q));
  r->id = q.id;
  r->kind = q.kind;
  assert_true(qr_ring_push(f->replies, r));
  turn(f, 2);
}

static void test_ask_and_answer(void **state) {
  fixture_t *f = *state;
  int fd = dial(f);
  say(f, fd,
      "{\"id\":\"x\",\"method\":\"account\",\"params\":{\"pk\":\""
      "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"}}\n");
  assert_string_equal(hear(fd), "");
  qr_reply_t r = {.account = {.found = true, .balance = UINT64_MAX, .seq = 3}};
  answer(f, &r);
  assert_string_equal(hear(fd), "{\"id\":\"x\",\"result\":{\"found\":true,\"balance\":"
                                "\"18446744073709551615\",\"seq\":3}}\n");
  /* two at once: the second waits for the first, answers come in order */
  say(f, fd,
      "{\"id\":1,\"method\":\"verify\",\"params\":{\"height\":7}}\n\n{\"id\":2,\"method\":"
      "\"mining\",\"params\":{\"enable\":false}}\n");
  assert_int_equal(qr_ring_cnt(f->queries), 1);
  memset(&r, 0, sizeof r);
  r.err = QR_ERR_NOTFOUND;
  answer(f, &r);
  turn(f, 3);
  assert_string_equal(hear(fd), "{\"id\":1,\"error\":{\"code\":-5,\"message\":\"no block at this "
                                "height of the main chain, or this node has pruned it\"}}\n");
  memset(&r, 0, sizeof r);
  answer(f, &r);
  assert_string_equal(hear(fd), "{\"id\":2,\"result\":{\"ok\":true}}\n");
  close(fd);
}

static void test_fields_reach_the_query(void **state) {
  fixture_t *f = *state;
  int fd = dial(f);
  qr_query_t q;
  char line[512], hex[2 * QR_TX_SZ + 1];
  uint8_t tx[QR_TX_SZ];
  for (size_t i = 0; i < sizeof tx; i++) tx[i] = (uint8_t)(i * 7);
  snprintf(line, sizeof line, "{\"method\":\"send\",\"params\":{\"tx\":\"%s\"}}\n",
           qr_hex(hex, tx, sizeof tx));
  say(f, fd, line);
  assert_true(qr_ring_pop(f->queries, &q));
  assert_int_equal(q.kind, QR_QUERY_SEND);
  assert_memory_equal(q.tx, tx, sizeof tx);
  qr_reply_t r = {.id = q.id, .kind = q.kind, .verdict = QR_VERDICT_TX_BALANCE};
  assert_true(qr_ring_push(f->replies, &r));
  turn(f, 2);
  const char *said = hear(fd);
  assert_non_null(strstr(said, "\"verdict\":\"tx-balance\""));
  assert_non_null(strstr(said, "\"error\""));
  close(fd);
}

static void test_bad_requests(void **state) {
  fixture_t *f = *state;
  static const struct {
    const char *line;
    int code;
  } rows[] = {
      {"\n{\n", QR_ERR_FORMAT},
      {"[]\n", QR_ERR_FORMAT},
      {"{\"id\":[1],\"method\":\"status\"}\n", QR_ERR_FORMAT},
      {"{\"id\":1}\n", QR_ERR_FORMAT},
      {"{\"method\":\"format\"}\n", QR_ERR_UNSUPPORTED},
      {"{\"method\":\"block\"}\n", QR_ERR_ARG},
      {"{\"method\":\"block\",\"params\":{\"height\":-1}}\n", QR_ERR_ARG},
      {"{\"method\":\"block\",\"params\":{\"height\":\"1\"}}\n", QR_ERR_ARG},
      {"{\"method\":\"account\",\"params\":{\"pk\":\"12\"}}\n", QR_ERR_ARG},
      {"{\"method\":\"send\",\"params\":{\"tx\":\"zz\"}}\n", QR_ERR_ARG},
      {"{\"method\":\"mining\",\"params\":{\"enable\":1}}\n", QR_ERR_ARG},
  };
  int fd = dial(f);
  for (size_t i = 0; i < QR_ARRAY_CNT(rows); i++) {
    char code[32];
    snprintf(code, sizeof code, "\"code\":%d,", rows[i].code);
    say(f, fd, rows[i].line);
    assert_non_null(strstr(hear(fd), code));
  }
  assert_int_equal(qr_ring_cnt(f->queries), 0);
  close(fd);
}

static void test_endless_line(void **state) {
  fixture_t *f = *state;
  int fd = dial(f);
  char block[1024];
  memset(block, 'a', sizeof block);
  for (int i = 0; i < 20; i++) {
    assert_int_equal(send(fd, block, sizeof block, MSG_NOSIGNAL), (ssize_t)sizeof block);
    turn(f, 2);
  }
  assert_non_null(strstr(hear(fd), "longer than 4096 bytes"));
  say(f, fd, "tail of it\n{\"id\":9,\"method\":\"peers\"}\n");
  assert_int_equal(qr_ring_cnt(f->queries), 1); /* heals at the next line */
  close(fd);
}

static void test_nobody_answers(void **state) {
  fixture_t *f = *state;
  int fd = dial(f);
  say(f, fd, "{\"id\":1,\"method\":\"status\"}\n");
  f->now_ns += 20 * SECOND;
  turn(f, 1);
  assert_non_null(strstr(hear(fd), "did not answer in time"));
  /* the late reply belongs to nobody, least of all to the next question */
  say(f, fd, "{\"id\":2,\"method\":\"peers\"}\n");
  qr_reply_t r = {.kind = QR_QUERY_STATUS};
  answer(f, &r);
  assert_string_equal(hear(fd), "");
  answer(f, &r);
  assert_non_null(strstr(hear(fd), "\"id\":2,"));
  /* verifying may take longer */
  say(f, fd, "{\"id\":3,\"method\":\"verify\",\"params\":{\"height\":1}}\n");
  f->now_ns += 20 * SECOND;
  turn(f, 1);
  assert_string_equal(hear(fd), "");
  close(fd);
}

static void test_full_query_ring(void **state) {
  fixture_t *f = *state;
  int fds[5];
  for (size_t i = 0; i < 5; i++) {
    fds[i] = dial(f);
    say(f, fds[i], "{\"id\":1,\"method\":\"status\"}\n");
  }
  assert_non_null(strstr(hear(fds[4]), "too many questions"));
  for (size_t i = 0; i < 5; i++) close(fds[i]);
}

static void test_crowd(void **state) {
  fixture_t *f = *state;
  int fds[QR_RPC_CLIENT_MAX_CNT], late;
  for (size_t i = 0; i < QR_RPC_CLIENT_MAX_CNT; i++) {
    fds[i] = dial(f);
    turn(f, 1);
  }
  late = dial(f);
  turn(f, 1);
  assert_non_null(strstr(hear(late), "all 16 places"));
  assert_true(is_closed(late));
  close(late);
  /* silent ones make room in time */
  f->now_ns += 6 * SECOND;
  late = dial(f);
  turn(f, 1);
  say(f, late, "{\"method\":\"nothing\"}\n");
  assert_non_null(strstr(hear(late), "no such method"));
  close(late);
  for (size_t i = 0; i < QR_RPC_CLIENT_MAX_CNT; i++) close(fds[i]);
}

/* A client that asks without end and never listens costs its own place, for a while, and nothing
 * else. */
static void test_deaf_client(void **state) {
  fixture_t *f = *state;
  int deaf = dial(f), other = dial(f), small = 4096;
  assert_int_equal(setsockopt(deaf, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
  turn(f, 2);
  for (int i = 0; i < 20000; i++) {
    ssize_t n = send(deaf, "{\"method\":\"x\"}\n", 15, MSG_NOSIGNAL | MSG_DONTWAIT);
    turn(f, 1);
    if (n < 0 && i > 5000) break;
  }
  say(f, other, "{\"method\":\"x\"}\n");
  assert_non_null(strstr(hear(other), "no such method"));
  f->now_ns += 11 * SECOND;
  turn(f, 2);
  while (*hear(deaf)) {
  }
  char b;
  errno = 0;
  ssize_t end = recv(deaf, &b, 1, MSG_DONTWAIT);
  assert_true(!end || errno == ECONNRESET); /* hung up on, not merely silent */
  close(deaf);
  close(other);
}

/* printf '{...}\n' | nc -N -U socket: the asker has finished sending before the answer exists. */
static void test_half_closed(void **state) {
  fixture_t *f = *state;
  int fd = dial(f);
  say(f, fd, "{\"id\":1,\"method\":\"peers\"}\n");
  shutdown(fd, SHUT_WR);
  turn(f, 3);
  qr_reply_t r = {0};
  answer(f, &r);
  turn(f, 2);
  assert_string_equal(
      hear(fd),
      "{\"id\":1,\"result\":{\"first\":0,\"total\":0,\"inbound_cnt\":0,\"outbound_cnt\":0,"
      "\"book_new\":0,\"book_tried\":0,\"bans\":0,\"inbound_refused\":0,"
      "\"evicted\":0,\"peers\":[]}}\n");
  assert_true(is_closed(fd));
  close(fd);
}

static void test_stop(void **state) {
  fixture_t *f = *state;
  int fd = dial(f);
  assert_false(qr_rpc_stop_asked(f->rpc));
  say(f, fd, "{\"id\":1,\"method\":\"stop\"}\n");
  assert_true(qr_rpc_stop_asked(f->rpc));
  assert_string_equal(hear(fd), "{\"id\":1,\"result\":{\"ok\":true}}\n");
  close(fd);
}

static void test_ownership(void **state) {
  fixture_t *f = *state;
  struct stat st;
  assert_int_equal(stat(f->path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  qr_rpc_t *second = NULL;
  char why[256];
  assert_int_equal(qr_rpc_init(f->path, f->queries, f->replies, &second, why, sizeof why),
                   QR_ERR_BUSY);
  assert_non_null(strstr(why, "another quarryd is running"));
  assert_int_equal(stat(f->path, &st), 0); /* and the living one's socket stays */
  close(dial(f));
}

static void test_stale_and_foreign(void **state) {
  fixture_t *f = *state;
  qr_rpc_fini(f->rpc);
  /* a socket without an owner, as SIGKILL leaves it */
  struct sockaddr_un sa = {.sun_family = AF_UNIX};
  snprintf(sa.sun_path, sizeof sa.sun_path, "%s", f->path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
  close(fd);
  assert_int_equal(qr_rpc_init(f->path, f->queries, f->replies, &f->rpc, f->why, sizeof f->why), 0);
  close(dial(f));
  qr_rpc_fini(f->rpc);
  /* a file that is not ours is never removed */
  FILE *file = fopen(f->path, "w");
  fclose(file);
  qr_rpc_t *none = NULL;
  assert_int_equal(qr_rpc_init(f->path, f->queries, f->replies, &none, f->why, sizeof f->why),
                   QR_ERR_IO);
  assert_int_equal(access(f->path, F_OK), 0);
  unlink(f->path);
  char deep[200];
  memset(deep, 'x', sizeof deep - 1);
  deep[sizeof deep - 1] = 0;
  assert_int_equal(qr_rpc_init(deep, f->queries, f->replies, &none, f->why, sizeof f->why),
                   QR_ERR_IO);
  assert_int_equal(qr_rpc_init(f->path, f->queries, f->replies, &f->rpc, f->why, sizeof f->why), 0);
}

/* Every answer fits, even with all fields at their longest. */
static void test_longest_answers(void **state) {
  (void)state;
  static char out[QR_RPC_ANSWER_MAX_SZ];
  static qr_reply_t r;
  for (int kind = QR_QUERY_STATUS; kind <= QR_QUERY_MINING; kind++) {
    memset(&r, 1, sizeof r); /* \u0001 is the longest escape of a byte */
    r.kind = (enum qr_query_kind)kind;
    r.err = 0;
    r.verdict = QR_VERDICT_OK;
    if (kind == QR_QUERY_STATUS) r.status.writing = QR_WRITING_RECOVERS;
    if (kind == QR_QUERY_VERIFY) r.verify.verdict = QR_VERDICT_PARENT_INVALID;
    size_t n = qr_rpc_answer("\"longest\"", &r, out, sizeof out);
    assert_true(n > 10 && n < sizeof out / 2);
    assert_null(memchr(out, '\n', n - 1));
  }
}

#define WITH_SERVER(t) cmocka_unit_test_setup_teardown(t, open_fixture, close_fixture)

int main(void) {
  qr_log_init(QR_LOG_ERROR, STDERR_FILENO);
  const struct CMUnitTest tests[] = {
      WITH_SERVER(test_ask_and_answer),
      WITH_SERVER(test_fields_reach_the_query),
      WITH_SERVER(test_bad_requests),
      WITH_SERVER(test_endless_line),
      WITH_SERVER(test_nobody_answers),
      WITH_SERVER(test_full_query_ring),
      WITH_SERVER(test_crowd),
      WITH_SERVER(test_deaf_client),
      WITH_SERVER(test_half_closed),
      WITH_SERVER(test_stop),
      WITH_SERVER(test_ownership),
      WITH_SERVER(test_stale_and_foreign),
      cmocka_unit_test(test_longest_answers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
