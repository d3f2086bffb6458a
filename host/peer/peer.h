/* Peer sessions: everything between the link port and the tile that owns the network. A pure state
   machine over link ops: handshake, framing, limits, bans, relay of blocks and transactions, block
   sync, model fetch. It knows no validity: blocks and models go up as bytes, verdicts come back
   down, and only blocks that the application executed count for anything. Single-threaded; all
   calls from the owning tile. Callbacks are made only inside qr_peers_poll and qr_peers_fini, and
   must not call back into this module. Bytes and states: README.md. */
#ifndef QR_PEER_PEER_H
#define QR_PEER_PEER_H

#include "base/u256.h"
#include "base/verdict.h"
#include "port/link.h"
#include "wire/header.h"
#include "wire/msg.h"

#define QR_PEERS_MAX_CNT 256u /* largest peer_max_cnt */
#define QR_PEERS_STATIC_MAX_CNT 32u
#define QR_PEERS_OUTBOUND_MAX_CNT 16u
#define QR_PEERS_MODEL_MAX_SZ (16u << 20)

typedef struct qr_peers qr_peers_t;
/* One connection's session; never reused soon; 0 is nobody (our own blocks). */
typedef uint32_t qr_peer_id_t;

/* Why a session is there. */
enum qr_peer_role {
  QR_PEER_ROLE_INBOUND,
  QR_PEER_ROLE_STATIC, /* configured, dialled by us */
  QR_PEER_ROLE_BOOK    /* out of the address book, dialled by us */
};

typedef struct {
  qr_pubkey_t identity;
  qr_link_addr_t addr;
  enum qr_peer_role role;
  bool inbound;
  bool pruned;                         /* has not every block of its chain */
  uint16_t listen_port;                /* where the peer says that it listens */
  char agent[QR_MSG_AGENT_MAX_SZ + 1]; /* printable ASCII */
  uint64_t height;                     /* the peer's newest claim */
  qr_u256_t work;                      /* the peer's claim: no proof of anything */
  uint64_t rtt_ns;                     /* of the last PING, 0 before the first */
  uint64_t rx_bytes, tx_bytes;         /* of messages, without transport */
  uint64_t rx_class[QR_LINK_CLASS_CNT], tx_class[QR_LINK_CLASS_CNT]; /* the same by class */
  uint64_t connected_ms;                                             /* since the handshake */
  uint32_t misbehaviour; /* strikes now; 100 ends the connection */
} qr_peer_info_t;

/* What a remote peer asks of us. Pointers are lent until the callback returns. */
typedef struct {
  qr_peer_id_t peer;
  uint32_t req;          /* give back with the answer */
  enum qr_msg_want kind; /* QR_MSG_WANT_BLOCK, _MODEL or _HEADERS */
  qr_hash_t hash;        /* BLOCK: the block. MODEL: the block whose witness is asked for */
  qr_hash_t root;        /* MODEL: the model's root */
  /* HEADERS: newest first; answer with the main chain's headers from the first one known that lies
     on it (without that one's own if it is genesis, which has none) */
  const qr_hash_t *locator;
  uint32_t locator_cnt;
  uint32_t max_cnt; /* HEADERS: answer at most so many */
} qr_peer_want_t;

/* The application. Those that return bool say false for "no room now": the same item is offered
   again in a later poll, and what a peer sends beyond the buffers is not asked for meanwhile. Bytes
   are lent until the callback returns. */
typedef struct {
  /* A candidate block (header | body, at least a header; hash is the header's). The application
     owes exactly one qr_peers_accepted or qr_peers_rejected for it, at any later time. */
  bool (*on_block)(void *ctx, qr_peer_id_t peer, const qr_hash_t *hash, const uint8_t *block,
                   size_t sz);
  /* Whether h can follow parent (NULL: genesis) by what headers say, cheaply: that it names
     parent's hash and the next height was looked at. OK, TIME_AHEAD, or what is wrong with it. */
  enum qr_verdict (*on_header)(void *ctx, const qr_header_t *parent, const qr_header_t *h);
  /* The bytes asked for by qr_peers_fetch_model, complete and of the right root, wherever they came
     from; peer is who was named there. */
  bool (*on_model)(void *ctx, qr_peer_id_t peer, const qr_hash_t *block, const qr_hash_t *root,
                   const uint8_t *model, size_t sz);
  /* The model will not come (late, refused, disconnected). The application drops the
     block that waits for it; no verdict is owed for that block any more and it may be offered again
     by on_block, from another peer. */
  void (*on_model_failed)(void *ctx, qr_peer_id_t peer, const qr_hash_t *block,
                          const qr_hash_t *root);
  /* One transaction, QR_TX_SZ bytes, signature not checked. false drops it. */
  bool (*on_tx)(void *ctx, qr_peer_id_t peer, const uint8_t *tx);
  /* The application owes one qr_peers_answer_* or qr_peers_not_found; without it the request lapses
   * after 30 s. */
  bool (*on_want)(void *ctx, const qr_peer_want_t *want);
  /* sz bytes at offset of the payload of the snapshot that is offered; false: it cannot be read. */
  bool (*on_read)(void *ctx, uint64_t offset, uint8_t *out, uint32_t sz);
  void (*on_peer_up)(void *ctx, qr_peer_id_t peer, const qr_peer_info_t *info);
  void (*on_peer_down)(void *ctx, qr_peer_id_t peer, const char *reason);
} qr_peer_app_t;

/* A snapshot as peers see it: chain/snapshot.h. */
typedef struct {
  qr_hash_t seal, root;
  uint64_t payload_sz;
  const qr_hash_t *leaves; /* of all its chunks; borrowed */
} qr_peers_snapshot_t;

#define QR_PEERS_CHUNK_MAX_CNT (1u << 18) /* 256 GiB */

/* For a node that has no chain and is to begin with a snapshot: then nothing else is done but to
   fetch it, from all peers that offer it. Callbacks with cfg.ctx. */
typedef struct {
  qr_hash_t pin;          /* its seal, as the operator has it from whom he trusts */
  qr_hash_t kept_root;    /* of the one of which chunks are here already; zero: none */
  uint32_t chunk_max_cnt; /* the largest that is taken; 32 bytes each */
  /* The hashes of the chunks of one that a peer has for the pin are known; lent until the next
     begin. Sets have[i] for chunks that need not be fetched. false: give up. */
  bool (*begin)(void *ctx, const qr_peers_snapshot_t *s, uint8_t *have);
  /* A chunk that has its hash, each once. QR_OK, QR_ERR_CORRUPT (as qr_peers_snapshot_wrong) or
     another code: it cannot be kept, give up. */
  int (*chunk)(void *ctx, uint32_t idx, const uint8_t *bytes, uint32_t sz);
} qr_peers_begin_t;

typedef struct {
  const qr_link_ops_t *ops; /* borrowed */
  qr_link_t *link;          /* borrowed; open; polled only by this module; not closed by it */
  uint64_t chain_id;
  qr_hash_t rules, genesis;
  qr_pubkey_t self; /* our identity, the link's */
  uint16_t listen_port;
  bool late_models;              /* no model is fetched or offered before its block was executed */
  bool pruned;                   /* we do not hold every block, or will not */
  const char *agent;             /* at most QR_MSG_AGENT_MAX_SZ characters; copied */
  const qr_link_addr_t *statics; /* dialled and kept; copied */
  uint32_t static_cnt;
  uint32_t peer_max_cnt;  /* sessions in both directions, 1 .. QR_PEERS_MAX_CNT */
  uint32_t inbound_cnt;   /* most inbound sessions; 0: what is left of peer_max_cnt */
  uint32_t addr_max_cnt;  /* inbound sessions per IP address; 0: no limit */
  uint32_t group_max_cnt; /* inbound sessions per network group (netaddr.h); 0: no limit */
  bool exchange;          /* exchange addresses with peers and keep a book of them */
  bool public_only;       /* believe no address of a private network, whoever tells it */
  uint32_t outbound_cnt;  /* with exchange: so many peers out of the book, each of a network group
                             of its own, are dialled and kept; at most QR_PEERS_OUTBOUND_MAX_CNT */
  qr_link_addr_t own;     /* with exchange: where others reach us, told to them; port 0: nowhere */
  uint8_t book_key[32];   /* with exchange: secret; of a book that begins empty */
  uint64_t wall_ms;       /* with exchange: since 1970, at init */
  uint32_t model_max_sz;  /* largest model that may be fetched or served */
  uint32_t window_cnt;    /* blocks in flight while syncing, of all peers together; 0: 32 */
  const qr_peers_begin_t *begin; /* NULL: the node has a chain; borrowed */
  bool offers;                   /* we may have a snapshot to give: qr_peers_offer_snapshot */
  uint64_t ban_ns;               /* 0: one hour */
  uint64_t seed;                 /* of jitter and nonces */
  const qr_peer_app_t *app;      /* borrowed; every member set */
  void *ctx;
} qr_peers_cfg_t;

/* Bytes needed, or 0 if cfg is not acceptable (counts out of range, model_max_sz, agent too long).
   About 1 MiB + model_max_sz a peer plus two window_cnt blocks plus 4 MiB, touched only when used.
 */
size_t qr_peers_footprint(const qr_peers_cfg_t *cfg);
/* Formats mem (64-byte aligned, qr_peers_footprint bytes, borrowed for the object's life). now_ns
 * is monotonic, as in poll. */
qr_peers_t *qr_peers_init(void *mem, const qr_peers_cfg_t *cfg, uint64_t now_ns);
/* Disconnects everybody. */
void qr_peers_fini(qr_peers_t *p);

/* Polls the link, runs timers, delivers to the application, sends. Bounded work. Returns the number
   of events and items handled, 0 if there was nothing to do. */
int qr_peers_poll(qr_peers_t *p, uint64_t now_ns);

/* The application's tip and its locator (newest first: tip, then ever sparser ancestors down to
   genesis; at most QR_MSG_LOCATOR_MAX_CNT). Call once before the first poll and at every tip
   change; before that the tip is genesis with no work. Peers that lack the tip are told. */
void qr_peers_set_tip(qr_peers_t *p, const qr_hash_t *hash, uint64_t height, const qr_u256_t *work,
                      const qr_hash_t *locator, uint32_t locator_cnt);
/* A block, ours or a peer's, was executed and is right: announces it to peers that lack it and goes
 * on with sync. */
void qr_peers_accepted(qr_peers_t *p, const qr_hash_t *hash, uint64_t height,
                       const qr_u256_t *work);
/* A block was not accepted. from: who sent it as on_block said (0 or a session that has ended:
   nobody is blamed). Invalid blocks cost the connection; PARENT_UNKNOWN starts a sync from that
   peer; TIME_AHEAD asks again later; DUPLICATE and WITNESS_MISSING cost nothing. A block that waits
   for its model is not rejected: call qr_peers_fetch_model. */
void qr_peers_rejected(qr_peers_t *p, qr_peer_id_t from, const qr_hash_t *hash,
                       enum qr_verdict verdict);

/* The application has this model: nobody need send it. */
void qr_peers_has_model(qr_peers_t *p, const qr_hash_t *root);

/* A block of our own miner's, which is not executed again yet, has this incoming model: peers are
   offered it ahead, unless they are known to have it. Copied. */
void qr_peers_offer_model(qr_peers_t *p, const uint8_t *header, const uint8_t *model, uint32_t sz);

/* Asks for a block's incoming model of sz bytes, of the peer that sent the block first, and of
   others that have it if that one is slow. One in flight per peer, others wait in a queue. Returns
   0 (then on_model or on_model_failed follows), QR_ERR_ARG (sz beyond model_max_sz),
   QR_ERR_NOTFOUND (no such session) or QR_ERR_FULL (queue full: try again after a poll). */
int qr_peers_fetch_model(qr_peers_t *p, qr_peer_id_t peer, const qr_hash_t *block,
                         const qr_hash_t *root, uint32_t sz) QR_WARN_UNUSED;

/* A transaction (QR_TX_SZ bytes, copied) is in the application's pool: every peer that is not known
   to have it, except `from`, is told, and given it when it asks. */
void qr_peers_relay_tx(qr_peers_t *p, qr_peer_id_t from, const uint8_t *tx);
/* The same of one that came back into it when the chain was reorganised: all are told, for who was
   on another branch may have refused it; who has it does not ask. */
void qr_peers_return_tx(qr_peers_t *p, const uint8_t *tx);
/* One that came from a peer is not: what no honest peer relays costs it strikes. */
void qr_peers_refused_tx(qr_peers_t *p, qr_peer_id_t from, const uint8_t *tx,
                         enum qr_verdict verdict);
/* The least fee that the application takes now: peers are told, and need not tell of cheaper ones.
 */
void qr_peers_set_fee_min(qr_peers_t *p, uint64_t fee);

/* Answers to on_want. Bytes are copied; room was reserved before the question went up. A late or
   unknown req is ignored. block: header | body, at most QR_BLOCK_MAX_SZ; model: at most
   model_max_sz; headers: at most max_cnt, cnt * QR_HEADER_SZ bytes. (Larger ones are our own bug:
   asserted.) */
void qr_peers_answer_block(qr_peers_t *p, qr_peer_id_t peer, uint32_t req, const uint8_t *block,
                           size_t sz);
void qr_peers_answer_model(qr_peers_t *p, qr_peer_id_t peer, uint32_t req, const uint8_t *model,
                           size_t sz);
void qr_peers_answer_headers(qr_peers_t *p, qr_peer_id_t peer, uint32_t req, const uint8_t *headers,
                             uint32_t cnt);
void qr_peers_not_found(qr_peers_t *p, qr_peer_id_t peer, uint32_t req);

/* The snapshot that is given to who asks for it from now on, read by on_read; NULL: none. */
void qr_peers_offer_snapshot(qr_peers_t *p, const qr_peers_snapshot_t *s);

typedef struct {
  bool begun;                             /* the hashes of its chunks are known */
  bool failed;                            /* a callback gave up */
  bool done;                              /* all chunks are here */
  uint32_t chunk_cnt, done_cnt, kept_cnt; /* kept: of done, those that were here at first */
  uint32_t offer_cnt, peer_cnt; /* peers that may have a snapshot; that brought of it lately */
  uint64_t bytes_per_s, left_s; /* 0: not known */
} qr_peers_snapshot_progress_t;
/* Of cfg.begin: what came has its hashes and yet is not what the pin commits to. Whoever told of it
   or gave chunks of it is banned, and it begins anew with another. */
void qr_peers_snapshot_wrong(qr_peers_t *p);
/* Of cfg.begin. */
void qr_peers_snapshot_progress(const qr_peers_t *p, qr_peers_snapshot_progress_t *out);

/* An operator's wish: refuses an identity, or whoever comes from or is at an IP address, for so
   long, and disconnects whom that meets; ns 0 lifts the ban. Unlike the bans of offenders these
   are not given up for newer ones and hold for configured peers too. False: too many, or there was
   nothing to lift. */
bool qr_peers_ban_identity(qr_peers_t *p, const qr_pubkey_t *pk, uint64_t ns);
bool qr_peers_ban_ip(qr_peers_t *p, const uint8_t ip[16], uint64_t ns);

/* What is worth keeping over a restart, as bytes: the address book, the peers to dial first, bans.
   out has room for qr_peers_image_max_sz bytes; returns how many, 0 without exchange. */
size_t qr_peers_image_max_sz(void);
size_t qr_peers_export(const qr_peers_t *p, uint8_t *out);
/* Takes the bytes of an earlier export, once, before the first poll. Every field is checked; if one
   is wrong nothing is taken and why says so. Returns 0, QR_ERR_FORMAT, or QR_ERR_UNSUPPORTED: of
   another chain or another version. */
int qr_peers_import(qr_peers_t *p, const uint8_t *image, size_t sz, char *why,
                    size_t why_sz) QR_WARN_UNUSED;

typedef struct {
  /* A sync is under way and brought a block that was executed in the last 30 s: a mere claim does
     not count, so nobody stops a miner by claiming. */
  bool syncing;
  uint64_t height, target_height; /* ours, and what the peer claims; the same when not syncing */
  uint32_t peer_cnt;              /* sessions past the handshake */
  uint32_t sync_peer_cnt;         /* of them, those that brought blocks of this sync lately */
  uint32_t rate_milli;            /* thousandths of blocks executed a second; 0: not known */
  uint64_t left_s;                /* at this rate; 0: not known */
} qr_peers_progress_t;
qr_peers_progress_t qr_peers_progress(const qr_peers_t *p);

typedef struct {
  uint64_t frames_rx, frames_tx, frames_bad, frames_unknown, rate_dropped, unsolicited;
  uint64_t handshakes_refused, strikes, bans, dials, syncs, sync_failures;
  uint64_t offers_taken, models_early; /* models begun before, and complete when they were needed */
  uint64_t sync_rotations, sync_stolen; /* leaders replaced, blocks asked of another as well */
  uint64_t compact_rx, compact_whole;   /* of compact blocks: all, and those that came to nothing */
  uint64_t tx_ids_rx, tx_late;          /* transactions told of; asked for and not given in time */
  uint64_t tx_cheap;                    /* not told to a peer, whose least fee is higher */
  uint64_t txs_asked, hedges; /* transactions of theirs that were missing; second askings */
  uint64_t blocks_rx, models_rx, models_failed, tx_rx, app_full;
  uint64_t inbound_refused, evicted; /* no place: the newcomer's, another's */
  uint64_t addrs_rx, addrs_dropped;  /* addresses told, and those beyond the rate */
  uint64_t feelers; /* dials that only ask whether somebody of our chain is there */
} qr_peers_stats_t;
void qr_peers_stats(const qr_peers_t *p, qr_peers_stats_t *out);

/* The address book and the bans, in numbers; zeros without exchange. */
typedef struct {
  uint32_t new_cnt, tried_cnt, anchor_cnt, ban_cnt;
  uint32_t inbound_cnt, outbound_cnt; /* sessions past the handshake; outbound: of the book */
} qr_peers_counts_t;
void qr_peers_counts(const qr_peers_t *p, qr_peers_counts_t *out);

/* Fills up to max sessions past the handshake; returns how many. */
uint32_t qr_peers_list(const qr_peers_t *p, qr_peer_info_t *out, uint32_t max);

#endif
