/* What the two files of the address book share. Not for others. */
#ifndef QR_PEER_BOOK_INT_H
#define QR_PEER_BOOK_INT_H

#include "base/assert.h"
#include "peer/book.h"

#define QR_BOOK_NEW_CNT (QR_BOOK_NEW_BUCKET_CNT * QR_BOOK_BUCKET_SZ)
#define QR_BOOK_TRIED_CNT (QR_BOOK_TRIED_BUCKET_CNT * QR_BOOK_BUCKET_SZ)
#define QR_BOOK_HEAD_CNT 16384u /* a power of two */
#define QR_BOOK_WAIT_CNT 8u
#define QR_BOOK_NONE UINT16_MAX

typedef struct {
  qr_link_addr_t addr;
  qr_pubkey_t pk;
  uint32_t heard, met, dialed;
  uint32_t failed; /* the last dial that was counted in fail_cnt */
  uint8_t fail_cnt, place_cnt;
  bool tried;
  uint16_t places[QR_BOOK_PLACE_MAX_CNT]; /* bucket * 32 + place; tried has one */
  uint16_t next;                          /* of the same head, or free */
} qr_book_entry_t;

typedef struct {
  qr_link_addr_t addr;
  uint32_t since; /* 0: free */
} qr_book_wait_t;

struct qr_book {
  uint8_t key[QR_BOOK_KEY_SZ];
  uint64_t salt, rng; /* of heads and draws; from the key */
  uint32_t last_met;
  uint32_t new_cnt, tried_cnt; /* entries */
  uint64_t added, refused;
  qr_book_wait_t waits[QR_BOOK_WAIT_CNT];
  uint16_t heads[QR_BOOK_HEAD_CNT], free_head; /* free_head: of those below entry_cnt */
  uint16_t fresh[QR_BOOK_NEW_CNT], tried[QR_BOOK_TRIED_CNT]; /* entry, or NONE */
  uint16_t scratch[QR_BOOK_MAX_CNT];
  uint32_t entry_cnt; /* entries that were ever used; the others' memory is not touched */
  qr_book_entry_t entries[QR_BOOK_MAX_CNT];
};

/* book.c */
qr_book_entry_t *qr_book_get(const qr_book_t *b, const qr_link_addr_t *addr); /* or NULL */
qr_book_entry_t *qr_book_new_entry(qr_book_t *b, const qr_link_addr_t *addr);
uint16_t qr_book_tried_place(const qr_book_t *b, const qr_link_addr_t *addr);
uint16_t qr_book_place_in(const qr_book_t *b, bool tried, uint32_t bucket,
                          const qr_link_addr_t *addr);
void qr_book_take_place(qr_book_t *b, qr_book_entry_t *e, bool tried, uint16_t place);

#endif
