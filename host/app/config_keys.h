/* The table of configuration keys: names, kinds, limits and help, used by the file, the flags and
 * --help alike. */
#ifndef QR_APP_CONFIG_KEYS_H
#define QR_APP_CONFIG_KEYS_H

#include "app/config.h"

#define QR_CONFIG_KEY_SZ 64u
#define QR_CONFIG_KEY_MAX_CNT 64u

/* Number of "section.key", or -1. */
int qr_config_key_find(const char *key);
/* True for a key that may be given more than once (each adds). */
bool qr_config_key_repeats(int idx);
/* "; did you mean '...'?" for the nearest known key, or nothing if none is near. */
void qr_config_key_suggest(const char *key, char *out, size_t out_sz);
/* Edits that turn one name into another, for suggestions; both shorter than QR_CONFIG_KEY_SZ. */
uint32_t qr_config_key_distance(const char *a, const char *b);
/* Prints every key with its value in c and its help, section by section; then what drivers there
 * are. */
void qr_config_key_print(const qr_config_t *c);
void qr_config_driver_print(void);

#endif
