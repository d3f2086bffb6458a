/* The control protocol's request parser on any bytes, and the round trip of what it accepts into an
 * answer line. */
#include "app/rpc.h"
#include "app/rpc_json.h"
#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  static char out[QR_RPC_ANSWER_MAX_SZ];
  qr_rpc_request_t q;
  char why[160] = "";
  int rc = qr_rpc_parse((const char *)data, sz, &q, why, sizeof why);
  QR_ASSERT(memchr(q.id, 0, sizeof q.id) && q.id[0]);
  QR_ASSERT(!rc || why[0]);
  size_t n;
  if (rc) {
    n = qr_rpc_answer_error(q.id, rc, why, out, sizeof out);
  } else {
    qr_reply_t reply;
    memset(&reply, (int)(sz & 1), sizeof reply); /* texts without an end among them */
    reply.kind = q.query.kind;
    reply.verdict = QR_VERDICT_OK;
    if (reply.kind == QR_QUERY_VERIFY) reply.verify.verdict = QR_VERDICT_TRACE;
    if (reply.kind == QR_QUERY_STATUS) reply.status.writing = QR_WRITING_ON;
    reply.err = 0;
    n = qr_rpc_answer(q.id, &reply, out, sizeof out);
  }
  QR_ASSERT(n && out[n - 1] == '\n' && !memchr(out, '\n', n - 1));
  return 0;
}
