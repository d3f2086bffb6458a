/* The address book: who is said to be where, and who was met there. After Bitcoin's addrman (as
   hardened after Heilman et al., "Eclipse Attacks on Bitcoin's Peer-to-Peer Network", USENIX
   Security 2015), smaller. Two tables of buckets:

     new    what others told: 256 buckets of 32. The network group of who told it gives 16 buckets,
            the address's own group one of those; so whoever sits in few networks fills a sixteenth
            each, whatever he tells. An address that several told stands in up to 4 places.
     tried  where this node met a peer of its chain: 64 buckets of 32. The address's group gives 2
            buckets, the address one of those.

   Which bucket, and which place in it, follows from a secret key. In new a place is taken from who
   holds it only if that one is stale or stands elsewhere too; in tried only if the holder does not
   answer any more: who knocks waits in a short list until the holder was dialled. Bounded, pure:
   time comes in, in seconds since 1970 (any epoch would do as long as a saved image uses the same).
 */
#ifndef QR_PEER_BOOK_H
#define QR_PEER_BOOK_H

#include "peer/netaddr.h"

#define QR_BOOK_NEW_BUCKET_CNT 256u
#define QR_BOOK_TRIED_BUCKET_CNT 64u
#define QR_BOOK_BUCKET_SZ 32u
#define QR_BOOK_NEW_PER_SOURCE_CNT 16u
#define QR_BOOK_TRIED_PER_GROUP_CNT 2u
#define QR_BOOK_PLACE_MAX_CNT 4u /* of one address in new */
#define QR_BOOK_MAX_CNT ((QR_BOOK_NEW_BUCKET_CNT + QR_BOOK_TRIED_BUCKET_CNT) * QR_BOOK_BUCKET_SZ)
#define QR_BOOK_KEY_SZ 32u

typedef struct qr_book qr_book_t;

typedef struct {
  qr_link_addr_t addr;
  qr_pubkey_t pk;  /* tried: who was met there; else who is said to be, zero: not said */
  uint32_t heard;  /* when somebody last saw it alive, as far as is known */
  uint32_t met;    /* when this node last spoke with it, 0: never */
  uint32_t dialed; /* when it was last dialled, 0: never */
  uint32_t fail_cnt;
  bool tried;
} qr_book_item_t;

typedef struct {
  uint32_t new_cnt, tried_cnt, waiting_cnt; /* waiting: for a place in tried */
  uint64_t added, refused; /* refused: told, and there was no place for it in new */
} qr_book_counts_t;

/* About 1 MiB. mem is 8-byte aligned and borrowed for the book's life. */
size_t qr_book_footprint(void);
qr_book_t *qr_book_init(void *mem, const uint8_t key[QR_BOOK_KEY_SZ]);

/* Somebody at source told of addr, alive at `heard`. pk: who is there by that account, zero if not
   said. True if that was news: not known, or not known to be alive in the last half hour. */
bool qr_book_add(qr_book_t *b, const qr_link_addr_t *addr, const qr_pubkey_t *pk, uint32_t heard,
                 const qr_link_addr_t *source, uint32_t now);
/* pk answered at addr, and is of our chain. Puts it into tried, now or when the holder of its place
   turns out to be gone. */
void qr_book_met(qr_book_t *b, const qr_link_addr_t *addr, const qr_pubkey_t *pk, uint32_t now);
/* addr is being dialled. Counts as a failure until qr_book_met, unless nobody at all answered since
   the last one: then it is our own line that is down. */
void qr_book_dialed(qr_book_t *b, const qr_link_addr_t *addr, uint32_t now);
/* There is nobody of our chain, or somebody else than was met. */
void qr_book_forget(qr_book_t *b, const qr_link_addr_t *addr);

/* Draws one to dial: from either table with the same chance (only_new: from new), then any bucket
   that is not empty, any place; those dialled lately or in vain more rarely. False if none came up.
 */
bool qr_book_pick(qr_book_t *b, bool only_new, uint32_t now, qr_book_item_t *out);
/* Draws a holder in tried whose place somebody waits for; it is to be dialled. */
bool qr_book_pick_doubted(qr_book_t *b, uint32_t now, qr_book_item_t *out);
bool qr_book_find(const qr_book_t *b, const qr_link_addr_t *addr, qr_book_item_t *out);
/* Up to max addresses for somebody at `to`, drawn from all that are not stale: a quarter of the
   book at most, but up to 64 in any case. Returns how many. */
uint32_t qr_book_sample(qr_book_t *b, const qr_link_addr_t *to, uint32_t now, qr_book_item_t *out,
                        uint32_t max);
void qr_book_counts(const qr_book_t *b, qr_book_counts_t *out);

/* The book as bytes, the key included; the layout is in README.md. At most
   qr_book_image_max_sz bytes; returns how many. */
size_t qr_book_image_max_sz(void);
size_t qr_book_export(const qr_book_t *b, uint8_t *out);
/* Takes the bytes of an earlier export for its content. Every field is checked: on any fault the
   book is empty, with the key that it had, and the return value false. used: how many bytes of sz
   were the book's. */
bool qr_book_import(qr_book_t *b, const uint8_t *p, size_t sz, uint32_t now, size_t *used);

#endif
