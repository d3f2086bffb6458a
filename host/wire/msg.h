/* Messages between peers: frames and payloads. A frame is u32 size of the payload | u8 type |
   payload, integers little-endian. Every type has one link class and bounds for its payload, so
   that a frame can be refused from its first five bytes. Decoding borrows: pointers lead into the
   input. Pure. The table of all bytes: host/peer/README.md. */
#ifndef QR_WIRE_MSG_H
#define QR_WIRE_MSG_H

#include "base/types.h"
#include "base/u256.h"
#include "base/verdict.h"
#include "wire/block.h"
#include "wire/compact.h"

#define QR_MSG_VERSION 2u /* of this protocol */
#define QR_MSG_HEAD_SZ 5u
#define QR_MSG_FRAME_MAX_SZ (1u << 20) /* head and payload, of any type, known or not */
#define QR_MSG_AGENT_MAX_SZ 64u
#define QR_MSG_LOCATOR_MAX_CNT 32u
#define QR_MSG_HEADERS_MAX_CNT 128u
#define QR_MSG_CHUNK_SZ 16384u /* of a model; the last may be short */
#define QR_MSG_CHUNK_MAX_CNT 1024u
#define QR_MSG_PART_MAX_SZ (64u << 10) /* of a chunk of a snapshot */
#define QR_MSG_LEAVES_MAX_CNT 2000u
#define QR_MSG_TX_IDS_MAX_CNT 256u
#define QR_MSG_FEATURE_PRUNED 1u /* has not every block of its chain: NOT_FOUND is no offence */
#define QR_MSG_FEATURE_ADDRS (1u << 4)    /* knows GET_ADDRS and ADDRS */
#define QR_MSG_FEATURE_SNAPSHOT (1u << 5) /* may give a snapshot */
#define QR_MSG_FEATURE_FEE (1u << 6)      /* knows FEE_MIN */
#define QR_MSG_ADDR_SZ 52u                /* of one address in ADDRS */
#define QR_MSG_ADDRS_MAX_CNT 100u

enum qr_msg_type {
  QR_MSG_HELLO = 1,
  QR_MSG_READY = 2,
  QR_MSG_PING = 3,
  QR_MSG_PONG = 4,
  QR_MSG_ANNOUNCE = 5,
  QR_MSG_GET_BLOCK = 6,
  QR_MSG_BLOCK = 7,
  QR_MSG_GET_MODEL = 8,
  QR_MSG_MODEL = 9,
  QR_MSG_GET_HEADERS = 10,
  QR_MSG_HEADERS = 11,
  QR_MSG_TX = 12,
  QR_MSG_NOT_FOUND = 13,
  QR_MSG_GET_COMPACT = 14,
  QR_MSG_COMPACT = 15,
  QR_MSG_GET_BLOCK_TXS = 16,
  QR_MSG_BLOCK_TXS = 17,
  QR_MSG_LEAVES = 18,
  QR_MSG_OFFER = 19,
  QR_MSG_GET_ADDRS = 20,
  QR_MSG_ADDRS = 21,
  QR_MSG_GET_SNAPSHOT = 24,
  QR_MSG_SNAPSHOT = 25,
  QR_MSG_GET_CHUNK = 26,
  QR_MSG_CHUNK = 27,
  QR_MSG_TX_IDS = 30,
  QR_MSG_GET_TXS = 31,
  QR_MSG_FEE_MIN = 32,
  QR_MSG_TYPE_END
};

/* Stream of the link that carries a type; the numbers are those of enum qr_link_class. */
enum qr_msg_class {
  QR_MSG_CONTROL = 0,
  QR_MSG_BULK_BLOCK = 1,
  QR_MSG_BULK_TX = 2,
  QR_MSG_BULK_SYNC = 3
};

enum qr_msg_want {
  QR_MSG_WANT_BLOCK = 1,
  QR_MSG_WANT_MODEL = 2,
  QR_MSG_WANT_HEADERS = 3,
  QR_MSG_WANT_SNAPSHOT = 4
};

typedef struct {
  uint32_t version; /* QR_MSG_VERSION */
  uint64_t chain_id;
  qr_hash_t rules, genesis, tip;
  uint64_t height; /* of tip */
  qr_u256_t work;  /* cumulative, of tip; a claim */
  uint16_t listen_port;
  uint64_t features; /* QR_MSG_FEATURE_ bits; unknown ones are ignored */
  uint8_t agent_sz;
  char agent[QR_MSG_AGENT_MAX_SZ]; /* printable ASCII, not terminated */
} qr_msg_hello_t;

typedef struct {
  uint64_t nonce;
} qr_msg_ping_t; /* PING and PONG */
typedef struct {
  uint64_t fee; /* what pays less need not be told of */
} qr_msg_fee_min_t;
typedef struct {
  qr_hash_t hash;
  uint64_t height;
  qr_u256_t work;
} qr_msg_announce_t;
typedef struct {
  qr_hash_t hash;
} qr_msg_get_block_t; /* GET_BLOCK and GET_COMPACT */
typedef struct {
  const uint8_t *block;
  uint32_t sz;
} qr_msg_block_t; /* header | body */
typedef struct {
  qr_hash_t block, root;
  uint16_t first, cnt; /* chunks; those beyond the model's end are not meant */
  bool leaves;         /* LEAVES first */
} qr_msg_get_model_t;
typedef struct {
  qr_hash_t root;
  uint16_t idx;
  uint32_t chunk_sz;
  const uint8_t *chunk;
} qr_msg_model_t;
typedef struct {
  qr_hash_t root;
  uint32_t total_sz; /* of the model */
  uint32_t cnt;
  const qr_hash_t *leaves; /* of its Merkle tree, as many as it has chunks */
} qr_msg_leaves_t;
typedef struct {
  const uint8_t *header; /* QR_HEADER_SZ bytes */
} qr_msg_offer_t;
typedef struct {
  uint32_t cnt;
  const uint8_t *ids; /* cnt times the first eight bytes of a transaction's hash */
} qr_msg_tx_ids_t;    /* TX_IDS and GET_TXS */
typedef struct {
  uint32_t cnt;
  const qr_hash_t *locator;
  uint16_t max_cnt;
} qr_msg_get_headers_t;
typedef struct {
  uint32_t cnt;
  const uint8_t *headers; /* cnt * QR_HEADER_SZ bytes */
} qr_msg_headers_t;
typedef struct {
  const uint8_t *tx;
} qr_msg_tx_t; /* QR_TX_SZ bytes */
typedef struct {
  const uint8_t *bytes; /* as qr_compact_decode accepts them */
  uint32_t sz;
} qr_msg_compact_t;
typedef struct {
  qr_hash_t block;
  uint32_t cnt;
  const uint8_t *at; /* cnt positions, u16, ascending */
} qr_msg_get_block_txs_t;
typedef struct {
  qr_hash_t block;
  uint32_t cnt;
  const uint8_t *txs; /* cnt * QR_TX_SZ bytes, in the order of the question */
} qr_msg_block_txs_t;
typedef struct {
  uint8_t kind;
  qr_hash_t hash;
} qr_msg_not_found_t; /* enum qr_msg_want; HEADERS: zero hash; SNAPSHOT: its seal or root */
typedef struct {
  qr_hash_t seal; /* hash of the header that settles its state */
  uint32_t first; /* leaf */
} qr_msg_get_snapshot_t;
typedef struct {
  qr_hash_t root;
  uint64_t payload_sz;
  uint32_t first, cnt;
  const uint8_t *leaves; /* cnt hashes */
} qr_msg_snapshot_t;
typedef struct {
  qr_hash_t root;
  uint32_t idx, offset; /* chunk, and where in it */
} qr_msg_get_chunk_t;
typedef struct {
  qr_hash_t root;
  uint32_t idx, offset, sz;
  const uint8_t *bytes;
} qr_msg_chunk_t;

typedef struct {
  uint32_t cnt; /* 1 .. QR_MSG_ADDRS_MAX_CNT */
  const uint8_t *addrs;
} qr_msg_addrs_t; /* cnt of QR_MSG_ADDR_SZ: see qr_msg_addr_put, qr_msg_addr_get */
typedef struct {
  uint8_t ip[16]; /* IPv4 as ::ffff:a.b.c.d */
  uint16_t port, age_min;
  qr_pubkey_t pk; /* who is there, as the sender was told or found; zero: not known */
} qr_msg_addr_t;

typedef struct {
  uint8_t type; /* enum qr_msg_type */
  union {
    qr_msg_hello_t hello;
    qr_msg_ping_t ping;
    qr_msg_announce_t announce;
    qr_msg_get_block_t get_block;
    qr_msg_block_t block;
    qr_msg_get_model_t get_model;
    qr_msg_model_t model;
    qr_msg_get_headers_t get_headers;
    qr_msg_headers_t headers;
    qr_msg_tx_t tx;
    qr_msg_not_found_t not_found;
    qr_msg_compact_t compact;
    qr_msg_get_block_txs_t get_block_txs;
    qr_msg_block_txs_t block_txs;
    qr_msg_leaves_t leaves;
    qr_msg_offer_t offer;
    qr_msg_get_snapshot_t get_snapshot;
    qr_msg_snapshot_t snapshot;
    qr_msg_get_chunk_t get_chunk;
    qr_msg_chunk_t chunk;
    qr_msg_tx_ids_t tx_ids;
    qr_msg_addrs_t addrs;
    qr_msg_fee_min_t fee_min;
  };
} qr_msg_t;

bool qr_msg_known(uint8_t type);
/* Class of a known type (asserted). */
enum qr_msg_class qr_msg_class_of(uint8_t type);
/* Largest payload of a known type (asserted). */
uint32_t qr_msg_payload_max(uint8_t type);
const char *qr_msg_str(uint8_t type); /* "hello"; "unknown" */

/* Judges a frame by its head, before anything of it is buffered: OK, or SIZE if the payload is out
   of its type's bounds or, for an unknown type, the frame beyond QR_MSG_FRAME_MAX_SZ. *payload_sz
   and *type are set in any case. */
enum qr_verdict qr_msg_head(const uint8_t head[QR_MSG_HEAD_SZ], uint32_t *payload_sz,
                            uint8_t *type) QR_WARN_UNUSED;

/* Decodes the payload of a known type (asserted). OK, SIZE (bounds of the type) or SYNTAX. m
 * borrows from payload. */
enum qr_verdict qr_msg_decode(uint8_t type, const uint8_t *payload, size_t sz,
                              qr_msg_t *m) QR_WARN_UNUSED;

/* Size of the whole frame that qr_msg_encode writes. */
size_t qr_msg_sz(const qr_msg_t *m);
/* Writes the frame, qr_msg_sz bytes; returns that size. Counts and sizes within the limits are the
 * caller's duty (asserted). */
size_t qr_msg_encode(const qr_msg_t *m, uint8_t *out);
/* One address of ADDRS, to and from its QR_MSG_ADDR_SZ bytes. */
void qr_msg_addr_put(const qr_msg_addr_t *a, uint8_t *out);
void qr_msg_addr_get(const uint8_t *p, qr_msg_addr_t *out);
/* Writes a frame's head only, for payloads that are sent from where they lie. */
void qr_msg_encode_head(uint8_t type, uint32_t payload_sz, uint8_t out[QR_MSG_HEAD_SZ]);

#endif
