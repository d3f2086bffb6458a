/* The text of the control protocol: a request line into a query, a reply into an answer line. Pure;
   jansson allocates while it works and has freed everything on return. */
#ifndef QR_APP_RPC_JSON_H
#define QR_APP_RPC_JSON_H

#include <jansson.h>

#include "tile/query.h"

#define QR_RPC_ID_SZ 72u /* JSON text of an id, quotes and escapes included */

typedef struct {
  char id[QR_RPC_ID_SZ]; /* as given: a JSON number, string or null */
  bool stop;             /* the method was "stop": no query */
  qr_query_t query;      /* query.id is the caller's to set */
} qr_rpc_request_t;

/* Parses a request. Any bytes are safe. Returns 0, or QR_ERR_FORMAT (not such an object),
   QR_ERR_UNSUPPORTED (no such method) or QR_ERR_ARG (its parameters), with a sentence in why;
   out->id is set whenever it could be read, else "null". */
int qr_rpc_parse(const char *line, size_t sz, qr_rpc_request_t *out, char *why,
                 size_t why_sz) QR_WARN_UNUSED;

/* Writes an answer and its newline to out; returns its length. Cut answers cannot happen: out_sz of
   QR_RPC_ANSWER_MAX_SZ holds any (asserted). */
size_t qr_rpc_answer(const char *id, const qr_reply_t *reply, char *out, size_t out_sz);
size_t qr_rpc_answer_error(const char *id, int code, const char *message, char *out, size_t out_sz);
/* Units of an accelerator as the answer to "devices" has them; for the command line too. */
json_t *qr_rpc_units_json(const qr_accel_unit_t *units, uint32_t cnt);
/* {"id":..,"result":{"ok":true}} */
size_t qr_rpc_answer_ok(const char *id, char *out, size_t out_sz);

#endif
