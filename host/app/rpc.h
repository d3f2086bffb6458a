/* The control socket: a Unix socket on which operators' programs ask a node questions, one JSON
   object a line. Request  {"id":1,"method":"block","params":{"height":7}}   id (optional): a number
   or a string of at most 64 bytes Answer   {"id":1,"result":{...}} or
   {"id":1,"error":{"code":-5,"message":"..."}}; codes are enum qr_err. Methods: status, block
   {height}, peers, account {pk}, send {tx: hex}, verify {height}, mining {enable}, backup {dir},
   devices {first}, reset {unit}, stop. A client's
   requests are answered in order, one at a time. The socket is the owner's alone (mode 0600). */
#ifndef QR_APP_RPC_H
#define QR_APP_RPC_H

#include "base/ring.h"

#define QR_RPC_CLIENT_MAX_CNT 16u
#define QR_RPC_REQUEST_MAX_SZ 4096u /* a line, with its newline */
#define QR_RPC_ANSWER_MAX_SZ 32768u

typedef struct qr_rpc qr_rpc_t;

/* Listens on path and takes all memory. queries: ring of qr_query_t that this module fills;
   replies: ring of qr_reply_t that it empties; both borrowed until fini. A socket left by a dead
   daemon is replaced, a living one's is not. Returns 0, QR_ERR_BUSY (another daemon owns path),
   QR_ERR_IO or QR_ERR_NOMEM; why says cause and cure. */
int qr_rpc_init(const char *path, qr_ring_t *queries, qr_ring_t *replies, qr_rpc_t **out, char *why,
                size_t why_sz) QR_WARN_UNUSED;

/* Accepts, reads, asks, answers, gives up on what nobody answered. Never blocks; asks the system at
   most once a millisecond. Returns how many things it did, 0 if idle. */
uint32_t qr_rpc_poll(qr_rpc_t *r, uint64_t now_ns);

/* True once an operator asked the daemon to stop; callable from any thread. */
bool qr_rpc_stop_asked(const qr_rpc_t *r);

/* Closes all and removes the socket. NULL is allowed. */
void qr_rpc_fini(qr_rpc_t *r);

#endif
