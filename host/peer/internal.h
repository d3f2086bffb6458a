/* What the files of host/peer share. Not for others. */
#ifndef QR_PEER_INTERNAL_H
#define QR_PEER_INTERNAL_H

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "chain/snapshot.h"
#include "crypto/hash.h"
#include "peer/book.h"
#include "peer/inv.h"
#include "peer/peer.h"
#include "peer/txs.h"

#define QR_PEER_SEC 1000000000ull
#define QR_PEER_MSEC 1000000ull
#define QR_PEER_TILE "net" /* whose log lines these are */

#define QR_PEER_STRIKE_LIMIT 100u
#define QR_PEER_WANT_BLOCK_CNT 48u /* questions of one peer that may wait */
#define QR_PEER_WANT_MODEL_CNT 2u
#define QR_PEER_WANT_CNT (QR_PEER_WANT_BLOCK_CNT + QR_PEER_WANT_MODEL_CNT + 1u)
#define QR_PEER_FETCH_CNT 64u    /* announced blocks under way */
#define QR_PEER_TX_ASK_CNT 1024u /* transactions asked for */
#define QR_PEER_TX_OWED_CNT 512u /* of one peer */
#define QR_PEER_PARTIAL_CNT 8u   /* blocks whose missing transactions were asked for */
#define QR_PEER_MODEL_CNT 64u    /* models that blocks wait for */
#define QR_PEER_EARLY_CNT 2u     /* models that are fetched before their block was executed */
#define QR_PEER_SOURCE_CNT 2u    /* peers that a model is fetched from at once */
#define QR_PEER_TRIED_CNT 8u     /* and one after the other */
#define QR_PEER_BAN_CNT 1024u
#define QR_PEER_BAN_OPERATOR_MAX_CNT 512u
#define QR_PEER_GIVEN_CNT 256u
#define QR_PEER_ANCHOR_CNT 4u
#define QR_PEER_SELF_CNT 4u     /* addresses at which we met ourselves */
#define QR_PEER_PAST_CNT 64u    /* ended sessions that can still be blamed */
#define QR_PEER_QUEUE_CNT 1024u /* blocks of a sync under way; a power of two */
#define QR_PEER_DEBT_CNT 16u    /* blocks of a sync that one peer is asked for at a time */
#define QR_PEER_WINDOW_MAX_CNT 32u
#define QR_PEER_PART_CNT 16u /* questions for parts of a snapshot that a peer may have waiting */
#define QR_PEER_SNAP_REFUSED_CNT 64u
#define QR_PEER_SNAP_SLOT_CNT 16u /* chunks under way, in memory; two of one peer at most */
/* The largest frame that answers one. */
#define QR_PEER_PART_FRAME_SZ (QR_MSG_HEAD_SZ + 40u + QR_MSG_PART_MAX_SZ)

/* ---- a session ---- */

enum qr_peer_state {
  QR_PEER_FREE,
  QR_PEER_DIALING, /* connect called */
  QR_PEER_HELLO,   /* link up, our HELLO sent, theirs awaited */
  QR_PEER_READY,   /* their HELLO is acceptable, our READY sent, theirs awaited */
  QR_PEER_UP,
  QR_PEER_CLOSING /* refused; kept for a moment so that it can read our HELLO and tell its operator
                     why */
};

enum qr_peer_bucket {
  QR_PEER_BUCKET_CONTROL,
  QR_PEER_BUCKET_TX,
  QR_PEER_BUCKET_TX_IDS,
  QR_PEER_BUCKET_TX_OUT,
  QR_PEER_BUCKET_BLOCKS,
  QR_PEER_BUCKET_MODELS,
  QR_PEER_BUCKET_HEADERS,
  QR_PEER_BUCKET_PARTS,
  QR_PEER_BUCKET_CNT
};

typedef struct {
  uint8_t *buf;
  uint32_t cap, sz;
  uint32_t skip;
} qr_peer_in_t; /* skip: bytes of an unknown message to come */

typedef struct {
  uint8_t *buf;
  uint32_t cap, rd, sz; /* waiting bytes are buf[rd .. rd + sz) */
  uint32_t reserved;    /* for answers that the application owes */
  bool blocked;         /* until WRITABLE */
  uint64_t moved_ns;    /* when bytes last went out, or the queue was empty */
} qr_peer_out_t;

enum qr_peer_form { QR_FORM_WHOLE, QR_FORM_COMPACT, QR_FORM_TXS }; /* what a BLOCK want asks for */

typedef struct {
  uint32_t req;        /* 0: free */
  uint8_t kind;        /* enum qr_msg_want */
  uint8_t form;        /* enum qr_peer_form */
  bool asked;          /* the application has it; room for the answer is reserved */
  bool feed;           /* MODEL: it is sent as it arrives here */
  bool leaves;         /* MODEL: they are still to be sent */
  uint16_t first, cnt; /* MODEL: chunks still to be sent */
  uint64_t at_ns;
  qr_hash_t hash, root;
} qr_peer_want_slot_t;

typedef struct {
  qr_hash_t hash;
  uint64_t height;
  qr_u256_t work;
} qr_peer_claim_t;

/* What a peer was asked for in a sync and owes until it answers, whatever became of the sync. */
typedef struct {
  qr_hash_t hash;
  uint64_t asked_ns;
} qr_peer_debt_t;

typedef struct {
  qr_peer_debt_t debts[QR_PEER_DEBT_CNT]; /* oldest first */
  uint32_t debt_cnt;
  bool owes_headers;
  uint64_t deadline_ns;   /* for anything of what it owes */
  uint64_t came_ns;       /* when the last block came, 0: none */
  uint64_t pace_ns;       /* between two blocks while some are owed, smoothed; 0: not known */
  uint64_t lacks_from;    /* lowest height that it has not of this sync's chain; 0: none known */
  uint64_t sync_no;       /* the last sync that it brought a block of, as stats.syncs counts them */
  uint64_t lead_after_ns; /* it was slow to lead: others first until then */
} qr_peer_share_t;

typedef struct {
  qr_hash_t id;         /* of the snapshot: its root; with leaves its seal */
  uint32_t idx, offset; /* of a chunk and in it; or of the first leaf */
  bool leaves;
} qr_peer_part_t;

/* A peer's side of snapshots. */
typedef struct {
  qr_peer_part_t parts[QR_PEER_PART_CNT]; /* it asked for, oldest first */
  uint32_t part_cnt;
  bool offers;
  uint32_t owed_cnt; /* questions to it that are not answered yet */
  uint32_t late_cnt; /* and before those, of which nobody cares about the answer any more */
  uint32_t fail_cnt; /* silences in a row */
  uint64_t quiet_ns; /* for anything of what it owes */
  uint64_t after_ns; /* nothing is asked of it before */
  uint64_t came_ns;  /* when the last part came, 0: none */
  bool vouches;      /* told of the snapshot that is fetched, or gave a chunk of it */
  bool lacks;        /* said that it has none for the pin */
} qr_peer_snap_share_t;

typedef struct {
  enum qr_peer_state state;
  qr_peer_id_t id;
  uint32_t generation;
  const char *doom; /* why it ends: taken down at the next safe place, counts as gone meanwhile */
  qr_link_conn_t conn;
  bool inbound, link_gone, got_ready;
  int32_t static_idx;     /* of the dialled address, -1 if it is none of the configured */
  bool from_book, feeler; /* dialled out of the book; feeler: only to see who answers */
  bool addrs;             /* it knows GET_ADDRS and ADDRS */
  bool addrs_given;       /* its GET_ADDRS was answered */
  bool fees;              /* it knows FEE_MIN */
  uint64_t addr_credit_ns, addr_credit_at_ns, tell_self_ns;
  uint64_t block_ns,
      tx_ns; /* when it last brought a block, a transaction, that was right; 0: never */
  qr_link_addr_t addr;
  qr_pubkey_t pk;
  uint64_t since_ns, up_ns, rx_ns;
  uint16_t listen_port;
  bool pruned;           /* it said that it has not every block */
  uint64_t lacks_height; /* of the highest block that it was asked for in vain, 0: none */
  char agent[QR_MSG_AGENT_MAX_SZ + 1];
  qr_peer_claim_t claim;
  qr_hash_t tie; /* the last block asked for because its work equals ours */
  uint64_t rx_bytes[QR_LINK_CLASS_CNT], tx_bytes[QR_LINK_CLASS_CNT];
  qr_peer_in_t in[QR_LINK_CLASS_CNT];
  qr_peer_out_t out[QR_LINK_CLASS_CNT];
  uint64_t credit_ns[QR_PEER_BUCKET_CNT], credit_at_ns;
  uint64_t guilt_ns;                                  /* when the last strike will be forgiven */
  uint64_t ping_nonce, ping_ns, ping_next_ns, rtt_ns; /* ping_nonce 0: none under way */
  uint64_t rtt_min_ns;                                /* 0: not known */
  qr_inv_t blocks, txs;                               /* what the peer is known to have */
  qr_inv_t asked; /* blocks asked of it lately: a late answer is no offence */
  qr_hash_t model_roots[QR_PEER_SOURCE_CNT * 2]; /* of models asked of it lately */
  uint32_t model_root_idx, chunks_owed;          /* chunks that were asked of it */
  uint64_t news[QR_MSG_TX_IDS_MAX_CNT];          /* transactions that it is to be told of */
  uint32_t news_cnt, txs_owed;                   /* txs_owed: asked of it */
  uint64_t news_ns;                              /* not before */
  uint64_t fee_min, fee_most;                    /* that it named: now, and the highest */
  uint64_t fee_told, fee_ns;                     /* what it knows of ours; no more before */
  qr_hash_t offered;                             /* the block that it offered last */
  uint64_t offer_ns;                             /* when the last offer taken will be forgotten */
  qr_peer_want_slot_t wants[QR_PEER_WANT_CNT];
  qr_hash_t locator[QR_MSG_LOCATOR_MAX_CNT]; /* of the HEADERS want */
  uint32_t locator_cnt, locator_max;
  uint16_t tx_at[QR_BLOCK_TX_MAX_CNT]; /* of the TXS want: which of the block's transactions */
  uint32_t tx_at_cnt;
  uint64_t slow_ns;       /* until then it is not the first to be asked for a block */
  uint64_t sync_after_ns; /* no part in a sync before */
  uint32_t sync_fail_cnt; /* silences in a row */
  qr_peer_share_t share;
  qr_peer_snap_share_t snap;
} qr_peer_slot_t;

/* ---- announced blocks ---- */

enum qr_peer_fetch_state {
  QR_FETCH_FREE,
  QR_FETCH_WAIT,
  QR_FETCH_ASKED,
  QR_FETCH_PARTIAL, /* its compact form came, transactions are missing */
  QR_FETCH_GIVEN
};

typedef struct {
  enum qr_peer_fetch_state state;
  qr_hash_t hash;
  qr_peer_id_t peer; /* whom we ask or asked */
  uint64_t at_ns;    /* WAIT: when to ask. Others: when to give up */
  uint64_t hedge_ns; /* ASKED, PARTIAL: when to ask somebody else as well */
  uint32_t try_cnt;
  bool whole;                   /* the compact form came to nothing */
  uint8_t header[QR_HEADER_SZ]; /* GIVEN */
} qr_peer_fetch_t;

/* A transaction that was asked for. */
typedef struct {
  uint64_t prefix;
  qr_peer_id_t peer, others[2]; /* peer 0: free; others have it as well */
  uint64_t at_ns;
} qr_peer_tx_ask_t;

/* A block of which transactions are missing. */
typedef struct {
  qr_peer_id_t peer; /* 0: free */
  qr_hash_t hash;
  uint8_t *block; /* QR_BLOCK_MAX_SZ */
  uint32_t sz, missing_cnt;
  uint16_t missing[QR_BLOCK_TX_MAX_CNT];
} qr_peer_partial_t;

#define QR_PEER_ID_TABLE_CNT 4096u /* a power of two, beyond QR_BLOCK_TX_MAX_CNT */

/* Scratch of one compact block, made or read. */
typedef struct {
  uint8_t out[QR_COMPACT_MAX_SZ];
  qr_hash_t ids[QR_BLOCK_TX_MAX_CNT];
  bool known[QR_BLOCK_TX_MAX_CNT];
  uint64_t short_ids[QR_BLOCK_TX_MAX_CNT]; /* by position */
  uint8_t found_cnt[QR_BLOCK_TX_MAX_CNT];  /* transactions that fit it, at most 2 */
  uint16_t table[QR_PEER_ID_TABLE_CNT];    /* position + 1, by short id */
} qr_peer_compact_t;

/* ---- sync ---- */

typedef struct {
  qr_hash_t hash;
  uint64_t height, asked_ns;
  qr_peer_id_t peer; /* of whom it is asked, or who sent it; 0: nobody */
  uint32_t sz;
  bool arrived, skip, done;
} qr_peer_entry_t;

/* head <= given <= tail count entries since boot; entry i lies at i % QR_PEER_QUEUE_CNT.
   [head, given): with the application, verdict awaited. [given, given + window): may be asked for,
   in the hold buffers once arrived. The rest waits. */
typedef struct {
  qr_peer_id_t peer;   /* who leads: whose headers are followed; 0: nobody */
  qr_peer_id_t forced; /* sync from this one next, whatever it claims */
  uint64_t head, given, tail;
  uint32_t unjudged;            /* of those in [head, given) */
  uint64_t failed;              /* an entry that was given and not taken, and is to be asked for
                                   again with all after it once all is judged; UINT64_MAX: none */
  uint64_t again_ns;            /* not before this */
  uint64_t verdict_ns;          /* last sign of life of the application */
  uint64_t fruit_ns;            /* when a block of this role was last accepted, 0: none yet */
  uint64_t began_ns, fruit_cnt; /* of the role: when it began, blocks accepted since */
  uint64_t pace_ns, pace_cnt;   /* fruit_cnt at a moment, for the rate since then */
  uint32_t rate_milli;
  uint32_t giver_cnt; /* sessions that brought a block of it */
  uint64_t told_ns;   /* the last line in the log */
  bool headers_asked;
  uint64_t headers_ns; /* when */
  uint32_t mute_cnt;   /* leaders in a row that gave none in time */
  bool end;            /* the leader has no more headers now */
  qr_header_t last;    /* of the newest entry, or of the block that the first one stands on */
  qr_hash_t last_hash; /* zero: nothing is known of what comes before the first entry */
  bool has_last;       /* false: it is genesis, which has no header */
  qr_hash_t locator[QR_MSG_LOCATOR_MAX_CNT]; /* of the question under way */
  uint32_t locator_cnt;
  bool gained;            /* a block was accepted since the last empty queue */
  qr_peer_entry_t *queue; /* QR_PEER_QUEUE_CNT */
  uint8_t *hold;          /* window_cnt * QR_BLOCK_MAX_SZ */
} qr_peer_sync_t;

/* ---- the snapshot to begin with ---- */

typedef struct {
  qr_peer_id_t peer; /* 0: free */
  uint32_t idx, sz, got, asked;
  bool twice; /* another brings it too */
  uint64_t began_ns;
} qr_peer_snap_slot_t;

typedef struct {
  qr_peer_id_t teller;                         /* of whom the hashes are asked, 0: nobody */
  qr_hash_t root;                              /* as the teller has it */
  qr_hash_t refused[QR_PEER_SNAP_REFUSED_CNT]; /* roots of what was not what the pin commits to */
  uint32_t refused_cnt;
  uint64_t kept_ns; /* until then only that is taken of which chunks are here */
  uint64_t payload_sz;
  uint32_t leaf_cnt, leaf_got;
  bool begun, failed; /* the hashes are right; the application gave up */
  uint32_t done_cnt, first_cnt,
      cursor; /* chunks here, here from the beginning, none missing below */
  uint64_t rx_sz, began_ns, told_ns;
  qr_peer_snap_slot_t slots[QR_PEER_SNAP_SLOT_CNT];
  qr_hash_t *leaves;
  uint8_t *have; /* a byte for each chunk */
  uint8_t *bufs; /* a chunk for each slot; before that, room to work in */
} qr_peer_snap_t;

/* ---- models ---- */

/* A block of the application's that waits for its incoming model. */
typedef struct {
  qr_peer_id_t peer; /* who sent the block */
  qr_hash_t block, root;
  uint32_t sz;
  uint64_t since_ns;
} qr_peer_model_t;

enum qr_peer_xfer_state { QR_XFER_FREE, QR_XFER_ACTIVE, QR_XFER_COMPLETE };

typedef struct {
  qr_peer_id_t peer; /* 0: none */
  uint64_t asked_ns;
  uint32_t got_cnt; /* chunks that came from it */
} qr_peer_source_t;

/* A model that arrives: its leaves first, which must make the root, then chunks, each of which must
   make its leaf, in any order and from anybody who was asked. */
typedef struct {
  enum qr_peer_xfer_state state;
  bool early; /* begun on an offer */
  qr_hash_t root, block;
  bool has_header, offered; /* offered: to the others */
  uint8_t header[QR_HEADER_SZ];
  uint32_t sz, chunk_cnt, got_cnt; /* sz 0: the leaves are not here */
  uint64_t progress_ns, pace_ns;   /* when the last chunk came, or another source was sought; when
                                      another is sought if it is not whole */
  uint64_t live_ns, total_ns;      /* when the last chunk came or source was asked; the end */
  uint64_t used_ns;                /* COMPLETE: the one used longest ago gives way */
  qr_peer_source_t sources[QR_PEER_SOURCE_CNT];
  qr_peer_id_t tried[QR_PEER_TRIED_CNT];
  uint32_t tried_cnt;
  qr_hash_t *leaves;
  bool *have;     /* by chunk */
  uint8_t *bytes; /* model_max_sz */
} qr_peer_xfer_t;

/* ---- addresses, bans ---- */

typedef struct {
  qr_link_addr_t addr;
  qr_peer_id_t peer; /* dial or session under way, 0: none */
  bool met, self;    /* met: pk is who answered last */
  qr_pubkey_t pk;
  uint64_t next_ns, backoff_ns;
} qr_peer_static_t;

typedef struct {
  qr_hash_t hash;
  qr_peer_id_t id;
} qr_peer_given_t; /* who brought a block that the application has */

typedef struct {
  bool by_addr, by_operator;
  uint8_t key[32];
  uint64_t until_ns;
} qr_peer_ban_t; /* until 0: free */

typedef struct {
  qr_link_addr_t addr;
  qr_pubkey_t pk;
} qr_peer_anchor_t; /* port 0: none */

/* Dialling out of the address book, and telling of it. */
typedef struct {
  uint64_t next_ns, feeler_ns, check_ns, extra_ns; /* when to look after each */
  uint64_t tip_ns;                                 /* when our tip last changed */
  qr_peer_anchor_t anchors[QR_PEER_ANCHOR_CNT];    /* to be dialled first */
  bool anchor_done[QR_PEER_ANCHOR_CNT];
  qr_link_addr_t selves[QR_PEER_SELF_CNT];
  uint32_t self_idx;
  uint64_t salt; /* of who is told of an address */
  qr_book_item_t answer[QR_MSG_ADDRS_MAX_CNT];
  uint32_t answer_cnt, answer_of; /* of: size of the book when it was drawn */
  enum qr_netaddr_scope answer_scope;
  uint64_t answer_ns; /* when it was drawn, 0: never */
} qr_peer_addrs_t;

typedef struct {
  qr_peer_id_t id;
  qr_pubkey_t pk;
  qr_link_addr_t addr;
  bool vouches; /* qr_peer_snap_share_t */
} qr_peer_past_t;

struct qr_peers {
  qr_peers_cfg_t cfg;
  char agent[QR_MSG_AGENT_MAX_SZ + 1];
  uint64_t now_ns, rng;
  uint32_t req_seq;
  int work_cnt;        /* of this poll */
  uint64_t packet_cnt; /* of the link at the end of the last poll */
  bool doomed;         /* some session has to be taken down */
  qr_peer_claim_t tip; /* ours: executed, no mere claim */
  qr_hash_t locator[QR_MSG_LOCATOR_MAX_CNT];
  uint32_t locator_cnt;
  uint64_t refresh_ns; /* when to look for peers that lack the tip */
  qr_inv_t known, bad, tx_seen;
  qr_inv_t tx_later; /* refused, but perhaps not on another tip: emptied when that moves */
  bool tx_later_any;
  qr_txs_t txs; /* relayed lately */
  qr_peer_tx_ask_t tx_asks[QR_PEER_TX_ASK_CNT];
  uint64_t tx_asks_ns; /* when to look for late ones */
  uint64_t fee_min;    /* the application's */
  qr_peer_partial_t partials[QR_PEER_PARTIAL_CNT];
  qr_peer_compact_t *compact;
  qr_peer_slot_t *slots; /* cfg.peer_max_cnt */
  qr_peer_fetch_t fetches[QR_PEER_FETCH_CNT];
  qr_peer_sync_t sync;
  qr_peer_snap_t snap;                       /* if cfg.begin */
  qr_peers_snapshot_t offer;                 /* payload_sz 0: none */
  uint8_t *part;                             /* QR_MSG_PART_MAX_SZ, of it */
  qr_peer_model_t models[QR_PEER_MODEL_CNT]; /* first come first served */
  uint32_t model_cnt;
  qr_peer_xfer_t *xfers; /* xfer_cnt */
  uint32_t xfer_cnt;
  qr_hash_t *leaves; /* scratch, of one model */
  qr_inv_t roots;    /* models that the application has */
  uint64_t all_credit_ns[QR_PEER_BUCKET_CNT], all_credit_at_ns[QR_PEER_BUCKET_CNT]; /* of all peers
                                                                                     together */
  qr_peer_static_t statics[QR_PEERS_STATIC_MAX_CNT];
  qr_peer_ban_t bans[QR_PEER_BAN_CNT];
  qr_peer_past_t past[QR_PEER_PAST_CNT];
  uint32_t past_idx;
  uint64_t start_ns, evict_salt;
  qr_peer_given_t given[QR_PEER_GIVEN_CNT];
  uint32_t given_idx;
  qr_book_t *book; /* NULL: no exchange of addresses */
  qr_peer_addrs_t addrs;
  qr_peers_stats_t stats;
  qr_log_bucket_t log_session, log_offence, log_lacks;
};

/* peers.c */
uint64_t qr_peer_draw(qr_peers_t *p);                               /* seeded 64 bits */
qr_peer_slot_t *qr_peer_find(const qr_peers_t *p, qr_peer_id_t id); /* UP and not doomed, or NULL */
void qr_peer_tell_tip(qr_peers_t *p, qr_peer_slot_t *s);
bool qr_peer_work_more(const qr_u256_t *a, const qr_u256_t *b); /* a > b */
uint32_t qr_peer_wall_s(const qr_peers_t *p);
/* Hands a block to the application; false: no room. Who brings right ones is worth keeping. */
bool qr_peer_give_block(qr_peers_t *p, qr_peer_id_t from, const qr_hash_t *h, const uint8_t *block,
                        size_t sz);

/* out.c */
bool qr_peer_out_room(const qr_peer_slot_t *s, enum qr_link_class cls, size_t sz);
bool qr_peer_out_msg(qr_peers_t *p, qr_peer_slot_t *s,
                     const qr_msg_t *m); /* false: no room, nothing queued */
void qr_peer_out_flush(qr_peers_t *p, qr_peer_slot_t *s);

/* limit.c */
bool qr_peer_spend(qr_peers_t *p, qr_peer_slot_t *s,
                   enum qr_peer_bucket b); /* false: over the rate */
void qr_peer_unspend(qr_peers_t *p, qr_peer_slot_t *s,
                     enum qr_peer_bucket b); /* gives back what the last spend took */
void qr_peer_limit_reset(qr_peers_t *p, qr_peer_slot_t *s);
uint32_t qr_peer_strikes(const qr_peers_t *p, const qr_peer_slot_t *s);
void qr_peer_strike(qr_peers_t *p, qr_peer_slot_t *s, uint32_t cost, const char *why);
void qr_peer_ban(qr_peers_t *p, const qr_pubkey_t *pk, const qr_link_addr_t *addr);
bool qr_peer_ban_key(qr_peers_t *p, bool by_addr, bool by_operator, const uint8_t key[32],
                     uint64_t until_ns); /* false: no place */
bool qr_peer_banned(const qr_peers_t *p, const qr_pubkey_t *pk,
                    const qr_link_addr_t *addr); /* addr NULL: not asked */

/* session.c */
void qr_peer_doom(qr_peers_t *p, qr_peer_slot_t *s, const char *why);
void qr_peer_reap(qr_peers_t *p); /* takes doomed sessions down */
qr_peer_slot_t *qr_peer_slot_new(qr_peers_t *p, qr_link_conn_t conn, bool inbound,
                                 const qr_link_addr_t *addr);
void qr_peer_event(qr_peers_t *p, const qr_link_event_t *ev);
void qr_peer_session_timers(qr_peers_t *p, qr_peer_slot_t *s);
void qr_peer_info(const qr_peers_t *p, const qr_peer_slot_t *s, qr_peer_info_t *out);

/* recv.c */
void qr_peer_recv(qr_peers_t *p, qr_peer_slot_t *s, enum qr_link_class cls, const uint8_t *data,
                  size_t sz);
/* session.c, called by recv.c */
void qr_peer_on_hello(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_hello_t *h);
void qr_peer_set_up(qr_peers_t *p, qr_peer_slot_t *s);

/* dial.c */
void qr_peer_dial_poll(qr_peers_t *p);
void qr_peer_dial_met(qr_peers_t *p, const qr_peer_slot_t *s); /* the link came up */
void qr_peer_dial_ended(qr_peers_t *p, const qr_peer_slot_t *s);
bool qr_peer_dial_is_static(const qr_peers_t *p,
                            const qr_link_addr_t *addr); /* IP address of a configured peer */
bool qr_peer_dial_has_session(const qr_peers_t *p, const qr_pubkey_t *pk);

/* evict.c */
/* Whether there is a place for somebody who comes in; may take down another session for that. */
bool qr_peer_place_for(qr_peers_t *p, const qr_link_addr_t *addr, const qr_pubkey_t *pk);

/* outbound.c */
void qr_peer_outbound_init(qr_peers_t *p);
void qr_peer_outbound_poll(qr_peers_t *p);
void qr_peer_outbound_met(qr_peers_t *p, const qr_peer_slot_t *s); /* dialled, and of our chain */
void qr_peer_outbound_wrong(
    qr_peers_t *p, const qr_peer_slot_t *s);        /* dialled, and ourselves or of another chain */
uint32_t qr_peer_outbound_cnt(const qr_peers_t *p); /* of the book, under way or up, no feelers */
/* The peers to dial first after a restart; returns how many. */
uint32_t qr_peer_outbound_anchors(const qr_peers_t *p, qr_peer_anchor_t out[QR_PEER_ANCHOR_CNT]);

/* gossip.c */
void qr_peer_gossip_up(qr_peers_t *p, qr_peer_slot_t *s);
void qr_peer_gossip_poll(qr_peers_t *p, qr_peer_slot_t *s);
void qr_peer_gossip_ask(qr_peers_t *p, qr_peer_slot_t *s); /* GET_ADDRS */
void qr_peer_gossip_addrs(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_addrs_t *m);

/* serve.c */
size_t qr_peer_serve_model_sz(uint32_t model_sz); /* of the frames that carry a model */
void qr_peer_serve_ask(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_t *m); /* GET_* */
void qr_peer_serve_poll(qr_peers_t *p, qr_peer_slot_t *s);

/* fetch.c */
void qr_peer_fetch_claim(qr_peers_t *p, qr_peer_slot_t *s,
                         const qr_peer_claim_t *c); /* ANNOUNCE or HELLO */
bool qr_peer_fetch_has(const qr_peers_t *p, const qr_hash_t *h);
/* The header of a block that is with the application, NULL if it is not known. */
const uint8_t *qr_peer_fetch_header(const qr_peers_t *p, const qr_hash_t *h);
/* A fault of what was sent with the header, not of the block: another peer may send it whole. */
bool qr_peer_fault_of_sender(enum qr_verdict v);
/* True if the block was one of those asked for here. */
bool qr_peer_fetch_block(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *h, const uint8_t *block,
                         uint32_t sz);
void qr_peer_fetch_refused(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *h); /* NOT_FOUND */
void qr_peer_fetch_gone(qr_peers_t *p, const qr_peer_slot_t *s);
bool qr_peer_fetch_verdict(qr_peers_t *p, const qr_hash_t *h,
                           enum qr_verdict v); /* true if it was one of these */
void qr_peer_fetch_poll(qr_peers_t *p);

/* The block is whole: it goes up as s's. */
void qr_peer_fetch_give(qr_peers_t *p, qr_peer_fetch_t *f, qr_peer_slot_t *s, const uint8_t *block,
                        uint32_t sz);
/* One that s was asked for and that is still wanted, or NULL. */
qr_peer_fetch_t *qr_peer_fetch_owed(qr_peers_t *p, const qr_peer_slot_t *s, const qr_hash_t *h);
/* The compact form came to nothing: the whole block is asked of s. */
void qr_peer_fetch_whole(qr_peers_t *p, qr_peer_fetch_t *f, const qr_peer_slot_t *s);
void qr_peer_fetch_await(qr_peers_t *p, qr_peer_fetch_t *f, enum qr_peer_fetch_state state);

/* txrelay.c */
/* Sets of transactions know them by the first eight bytes of their hashes. */
static inline qr_hash_t qr_peer_tx_key(uint64_t prefix) {
  qr_hash_t key = {{0}};
  qr_st64(key.b, prefix);
  return key;
}
void qr_peer_tx_ids(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_tx_ids_t *m);
void qr_peer_tx_get(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_tx_ids_t *m);
void qr_peer_tx(qr_peers_t *p, qr_peer_slot_t *s, const uint8_t *bytes);
void qr_peer_tx_fee(qr_peer_slot_t *s, uint64_t fee); /* FEE_MIN */
/* The transaction pays at least so much; one that cannot be read always does. */
bool qr_peer_tx_pays(const uint8_t *tx, uint64_t fee);
void qr_peer_tx_gone(qr_peers_t *p, const qr_peer_slot_t *s);
void qr_peer_tx_tip(qr_peers_t *p); /* our tip is another */
void qr_peer_tx_poll(qr_peers_t *p);

/* compact.c */
/* The answers to GET_COMPACT and GET_BLOCK_TXS; room is reserved. */
void qr_peer_compact_answer(qr_peers_t *p, qr_peer_slot_t *s, const uint8_t *block, uint32_t sz);
void qr_peer_compact_answer_txs(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *hash,
                                const uint8_t *block, uint32_t sz);
void qr_peer_compact_block(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_compact_t *m);
void qr_peer_compact_txs(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_block_txs_t *m);
void qr_peer_compact_drop(qr_peers_t *p, const qr_hash_t *h); /* it is not waited for any more */

/* sync.c */
void qr_peer_sync_poll(qr_peers_t *p);
bool qr_peer_sync_has(const qr_peers_t *p, const qr_hash_t *h);
bool qr_peer_sync_active(const qr_peers_t *p); /* a role is held or verdicts of one are awaited */
void qr_peer_sync_progress(const qr_peers_t *p, qr_peers_progress_t *out); /* its part of it */
void qr_peer_sync_headers(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_headers_t *h);
bool qr_peer_sync_block(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *h, const uint8_t *block,
                        uint32_t sz);
void qr_peer_sync_refused(qr_peers_t *p, qr_peer_slot_t *s, uint8_t kind,
                          const qr_hash_t *h); /* NOT_FOUND */
void qr_peer_sync_gone(qr_peers_t *p, const qr_peer_slot_t *s);
/* A verdict (OK: accepted) on a block; true if it was one of the sync's. */
bool qr_peer_sync_verdict(qr_peers_t *p, qr_peer_id_t from, const qr_hash_t *h, enum qr_verdict v);
/* The block's model did not come: no verdict will. */
void qr_peer_sync_model_failed(qr_peers_t *p, const qr_hash_t *h);
static inline qr_peer_entry_t *qr_peer_sync_at(const qr_peers_t *p, uint64_t i) {
  return &p->sync.queue[i % QR_PEER_QUEUE_CNT];
}
static inline uint8_t *qr_peer_sync_hold(const qr_peers_t *p, uint64_t i) {
  return p->sync.hold + (size_t)(i % p->cfg.window_cnt) * QR_BLOCK_MAX_SZ;
}
/* Called by share.c: a peer did not answer in time; nobody has the block that is needed first. */
void qr_peer_sync_silent(qr_peers_t *p, const qr_peer_slot_t *s);
void qr_peer_sync_nobody(qr_peers_t *p);

/* share.c */
void qr_peer_share_poll(qr_peers_t *p); /* before anything is asked for */
void qr_peer_share_ask(qr_peers_t *p);
void qr_peer_share_owe(qr_peers_t *p, qr_peer_slot_t *s,
                       const qr_hash_t *h); /* h NULL: headers, else a block; there is room */
bool qr_peer_share_headers(const qr_peers_t *p, qr_peer_slot_t *s); /* they came; true: were owed */
/* NOT_FOUND; true if it was asked for and is still wanted. */
bool qr_peer_share_refused(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *h);
void qr_peer_share_gone(qr_peers_t *p, const qr_peer_slot_t *s);
void qr_peer_share_bar(qr_peers_t *p, qr_peer_slot_t *s); /* from the sync, for a while */

/* snap.c */
void qr_peer_snap_poll(qr_peers_t *p);
void qr_peer_snap_leaves(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_snapshot_t *m);
void qr_peer_snap_part(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_chunk_t *m);
void qr_peer_snap_refused(qr_peers_t *p, qr_peer_slot_t *s); /* NOT_FOUND */
void qr_peer_snap_gone(qr_peers_t *p, qr_peer_slot_t *s);

/* snap_serve.c */
void qr_peer_snap_ask(qr_peers_t *p, qr_peer_slot_t *s,
                      const qr_msg_t *m); /* GET_SNAPSHOT, _CHUNK */
void qr_peer_snap_serve(qr_peers_t *p, qr_peer_slot_t *s);

/* model.c */
static inline uint32_t qr_peer_chunk_max_cnt(uint32_t model_sz) {
  return (model_sz + QR_MSG_CHUNK_SZ - 1) / QR_MSG_CHUNK_SZ;
}
static inline uint32_t qr_peer_chunk_sz(uint32_t model_sz, uint32_t i) {
  uint32_t left = model_sz - i * QR_MSG_CHUNK_SZ;
  return left < QR_MSG_CHUNK_SZ ? left : QR_MSG_CHUNK_SZ;
}
/* The model that arrives or is here, NULL if there is none. */
qr_peer_xfer_t *qr_peer_xfer_find(const qr_peers_t *p, const qr_hash_t *root);
/* Begins to fetch a model from s; NULL if there is no place. header: of its block, or NULL. */
qr_peer_xfer_t *qr_peer_xfer_begin(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *block,
                                   const qr_hash_t *root, const uint8_t *header, bool early);
/* A model of our own, to be given to who asks; NULL if there is no place. header: of its block. */
qr_peer_xfer_t *qr_peer_xfer_own(qr_peers_t *p, const qr_hash_t *block, const qr_hash_t *root,
                                 const uint8_t *header, const uint8_t *model, uint32_t sz);
void qr_peer_model_leaves(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_leaves_t *m);
void qr_peer_model_chunk(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_model_t *m);
void qr_peer_model_refused(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *block);
void qr_peer_model_gone(qr_peers_t *p, const qr_peer_slot_t *s);
void qr_peer_model_poll(qr_peers_t *p);

/* offer.c */
void qr_peer_offer(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_offer_t *m);
/* Tells of a model that begins to arrive those who may want it. */
void qr_peer_offer_on(qr_peers_t *p, qr_peer_xfer_t *x);
void qr_peer_offer_kept(qr_peers_t *p, const qr_hash_t *block); /* the block was accepted */

#endif
