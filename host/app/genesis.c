#include "app/genesis.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"

/* How a parameter is written in JSON. */
enum kind {
  UNSIGNED, /* 4 or 8 bytes, as the member is */
  SIGNED,
  NAME,    /* text of at most 31 characters */
  HASH,    /* 64 hex digits; also public keys */
  COMPACT, /* a compact target: "0x" and 8 hex digits */
  CHOICE,  /* u32 written as one of the words below */
  ENV,     /* u32 written as the environment's name */
  PART     /* an array or object that is handled apart */
};

typedef struct {
  const char *key;
  enum kind kind;
  size_t off, sz;
  const char *const *words; /* CHOICE: NULL-terminated, index = value */
} field_t;

static const char *const tie_words[] = {"reward", "reward-sum", "hash", NULL};
static const char *const layer_words[] = {"dense", "conv3", NULL};
_Static_assert(QR_TIE_REWARD == 0 && QR_TIE_REWARD_SUM == 1 && QR_TIE_HASH == 2, "tie_words");
_Static_assert(QR_LAYER_DENSE == 0 && QR_LAYER_CONV3 == 1, "layer_words");

#define F(type, member, kind_)                                                                     \
  { #member, kind_, offsetof(type, member), sizeof(((type *)0)->member), NULL }
#define W(type, member, words_)                                                                    \
  { #member, CHOICE, offsetof(type, member), 4, words_ }
#define P(name_)                                                                                   \
  { #name_, PART, 0, 0, NULL }

#define C(member, kind_) F(qr_params_t, member, kind_)
static const field_t chain_fields[] = {
    C(name, NAME),
    C(chain_id, UNSIGNED),
    C(genesis_time_ms, UNSIGNED),
    C(seed, HASH),
    C(step_cnt, UNSIGNED),
    C(segment_rows, UNSIGNED),
    C(eval_rows, UNSIGNED),
    C(replay_rows, UNSIGNED),
    C(warmup_segments, UNSIGNED),
    C(target_window, UNSIGNED),
    C(witness_window, UNSIGNED),
    C(reorg_limit, UNSIGNED),
    C(max_target, COMPACT),
    C(block_ms, UNSIGNED),
    C(asert_halflife_ms, UNSIGNED),
    C(drift_ms, UNSIGNED),
    W(qr_params_t, tie_rule, tie_words),
    C(tie_window_ms, UNSIGNED),
    C(subsidy, UNSIGNED),
    P(premine),
    P(tasks),
};

#define T(member, kind_) F(qr_task_params_t, member, kind_)
static const field_t task_fields[] = {
    T(name, NAME),
    T(env, ENV),
    P(net),
    T(gamma_q16, UNSIGNED),
    T(q_clip, SIGNED),
    T(eps_start_q16, UNSIGNED),
    T(eps_end_q16, UNSIGNED),
    T(eps_blocks, UNSIGNED),
    T(lr_halve_blocks, UNSIGNED),
    T(lr_halve_max, UNSIGNED),
    T(work_q16, UNSIGNED),
    T(reward_scale, SIGNED),
};

#define N(member) F(qr_net_spec_t, member, UNSIGNED)
static const field_t net_fields[] = {
    N(in_c), N(in_h), N(in_w), N(action_cnt), N(batch), N(act_frac), P(layers),
};

#define L(member) F(qr_layer_spec_t, member, UNSIGNED)
static const field_t conv_fields[] = {
    W(qr_layer_spec_t, kind, layer_words),
    L(out),
    L(lr_shift),
    L(init_fan),
    L(stride_y),
    L(stride_x),
};
/* A dense layer is the same without strides. */
#define DENSE_FIELD_CNT 4u

typedef struct {
  qr_pubkey_t to;
  uint64_t amount;
} premine_t;
_Static_assert(sizeof(premine_t) == sizeof((qr_params_t){0}.premine[0]), "premine entry");
static const field_t premine_fields[] = {F(premine_t, to, HASH), F(premine_t, amount, UNSIGNED)};

/* Where the first refusal is explained, and the object that is being read: "tasks[1].net", "" for
 * the whole file. */
typedef struct {
  char *why;
  size_t why_sz;
  char at[64];
} ctx_t;

/* Explains what is wrong with a key of the present object, or with the object itself if key is
 * NULL. */
static int refuse(const ctx_t *c, const char *key, const char *fmt, ...) QR_PRINTF(3, 4);
static int refuse(const ctx_t *c, const char *key, const char *fmt, ...) {
  const char *dot = c->at[0] && key ? "." : "";
  const char *last = key ? key : c->at[0] ? "" : "the file";
  int n = snprintf(c->why, c->why_sz, "%s%s%s ", c->at, dot, last);
  if (n < 0 || (size_t)n >= c->why_sz) return QR_ERR_ARG;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(c->why + n, c->why_sz - (size_t)n, fmt, ap);
  va_end(ap);
  return QR_ERR_ARG;
}

/* ---- reading ---- */

static int read_number(const ctx_t *c, const field_t *f, const json_t *v, void *out) {
  bool narrow = f->sz == 4;
  int64_t lo = f->kind == UNSIGNED ? 0 : narrow ? INT32_MIN : INT64_MIN;
  int64_t hi = !narrow ? INT64_MAX : f->kind == UNSIGNED ? UINT32_MAX : INT32_MAX;
  if (!json_is_integer(v)) return refuse(c, f->key, "must be a whole number");
  int64_t n = json_integer_value(v);
  if (n < lo || n > hi) {
    return refuse(c, f->key, "is %lld; it must be %lld to %lld", (long long)n, (long long)lo,
                  (long long)hi);
  }
  if (narrow)
    qr_st32(out, (uint32_t)n);
  else
    qr_st64(out, (uint64_t)n);
  return QR_OK;
}

static int read_word(const ctx_t *c, const field_t *f, const char *s, void *out) {
  for (uint32_t i = 0; f->words[i]; i++) {
    if (strcmp(s, f->words[i]) != 0) continue;
    qr_st32(out, i);
    return QR_OK;
  }
  return refuse(c, f->key, "is \"%.40s\", which is no word for it", s);
}

static int read_compact(const ctx_t *c, const field_t *f, const char *s, void *out) {
  uint8_t b[4];
  if (s[0] != '0' || s[1] != 'x' || !qr_unhex(b, sizeof b, s + 2)) {
    return refuse(c, f->key, "must be 0x and 8 hex digits");
  }
  qr_st32(out, (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]);
  return QR_OK;
}

static int read_text(const ctx_t *c, const field_t *f, const json_t *v, void *out) {
  if (!json_is_string(v)) return refuse(c, f->key, "must be a string");
  const char *s = json_string_value(v);
  if (f->kind == CHOICE) return read_word(c, f, s, out);
  if (f->kind == COMPACT) return read_compact(c, f, s, out);
  if (f->kind == HASH) {
    return qr_unhex(out, QR_HASH_SZ, s) ? QR_OK : refuse(c, f->key, "must be 64 hex digits");
  }
  if (f->kind == ENV) {
    const qr_env_t *env = qr_env_find(s);
    if (!env) return refuse(c, f->key, "is \"%.40s\"; there is no such environment", s);
    qr_st32(out, (uint32_t)env->id);
    return QR_OK;
  }
  size_t n = strlen(s);
  if (n > 31) return refuse(c, f->key, "has more than 31 characters");
  memcpy(out, s, n + 1);
  return QR_OK;
}

/* Reads the fields of one object into the struct at base: all of them, and the object may have no
 * others. */
static int read_object(const ctx_t *c, json_t *obj, const field_t *fields, size_t cnt, void *base) {
  if (!json_is_object(obj)) return refuse(c, NULL, "must be an object");
  for (size_t i = 0; i < cnt; i++) {
    const field_t *f = &fields[i];
    const json_t *v = json_object_get(obj, f->key);
    void *out = (uint8_t *)base + f->off;
    int err = QR_OK;
    if (!v) return refuse(c, f->key, "is missing");
    if (f->kind <= SIGNED)
      err = read_number(c, f, v, out);
    else if (f->kind != PART)
      err = read_text(c, f, v, out);
    if (err) return err;
  }
  const char *key;
  json_t *v;
  json_object_foreach(obj, key, v) {
    size_t i = 0;
    while (i < cnt && strcmp(key, fields[i].key) != 0) i++;
    if (i == cnt) return refuse(c, NULL, "has %.40s, which is not a parameter", key);
  }
  return QR_OK;
}

/* The array under key; its length goes to *cnt. NULL after a refusal. */
static json_t *read_array(const ctx_t *c, json_t *obj, const char *key, uint32_t max,
                          uint32_t *cnt) {
  json_t *a = json_object_get(obj, key);
  if (!json_is_array(a)) {
    refuse(c, key, "must be an array");
    return NULL;
  }
  if (json_array_size(a) > max) {
    refuse(c, key, "has %zu entries; at most %u are allowed", json_array_size(a), max);
    return NULL;
  }
  *cnt = (uint32_t)json_array_size(a);
  return a;
}

static int read_net(ctx_t *c, json_t *obj, uint32_t task, qr_net_spec_t *s) {
  snprintf(c->at, sizeof c->at, "tasks[%u].net", task);
  int err = read_object(c, obj, net_fields, QR_ARRAY_CNT(net_fields), s);
  json_t *a = err ? NULL : read_array(c, obj, "layers", QR_NET_LAYER_MAX_CNT, &s->layer_cnt);
  if (!a) return QR_ERR_ARG;
  for (uint32_t i = 0; i < s->layer_cnt; i++) {
    json_t *l = json_array_get(a, i);
    const char *kind = json_string_value(json_object_get(l, "kind"));
    bool conv = kind && !strcmp(kind, layer_words[QR_LAYER_CONV3]);
    snprintf(c->at, sizeof c->at, "tasks[%u].net.layers[%u]", task, i);
    err = read_object(c, l, conv_fields, conv ? QR_ARRAY_CNT(conv_fields) : DENSE_FIELD_CNT,
                      &s->layers[i]);
    if (err) return err;
  }
  return QR_OK;
}

static int read_tasks(ctx_t *c, json_t *obj, qr_params_t *p) {
  json_t *a = read_array(c, obj, "tasks", QR_TASK_MAX_CNT, &p->task_cnt);
  if (!a) return QR_ERR_ARG;
  for (uint32_t i = 0; i < p->task_cnt; i++) {
    json_t *t = json_array_get(a, i);
    snprintf(c->at, sizeof c->at, "tasks[%u]", i);
    int err = read_object(c, t, task_fields, QR_ARRAY_CNT(task_fields), &p->tasks[i]);
    if (!err) err = read_net(c, json_object_get(t, "net"), i, &p->tasks[i].net);
    if (err) return err;
  }
  c->at[0] = 0;
  return QR_OK;
}

static int read_premine(ctx_t *c, json_t *obj, qr_params_t *p) {
  json_t *a = read_array(c, obj, "premine", QR_PREMINE_MAX_CNT, &p->premine_cnt);
  if (!a) return QR_ERR_ARG;
  for (uint32_t i = 0; i < p->premine_cnt; i++) {
    premine_t e;
    snprintf(c->at, sizeof c->at, "premine[%u]", i);
    int err = read_object(c, json_array_get(a, i), premine_fields, 2, &e);
    if (err) return err;
    p->premine[i].to = e.to;
    p->premine[i].amount = e.amount;
  }
  c->at[0] = 0;
  return QR_OK;
}

/* A valid parameter set also derives; the derived part is the caller's to make again. */
static int check(const qr_params_t *p, char *why, size_t why_sz) {
  qr_chain_cfg_t cfg;
  return qr_params_init(p, &cfg, why, why_sz);
}

int qr_genesis_parse(const char *text, size_t sz, qr_params_t *out, char *why, size_t why_sz) {
  json_error_t je;
  json_t *root = json_loadb(text, sz, JSON_REJECT_DUPLICATES, &je);
  if (!root) {
    snprintf(why, why_sz, "line %d: %s", je.line, je.text);
    return QR_ERR_FORMAT;
  }
  ctx_t c = {.why = why, .why_sz = why_sz};
  qr_params_t p = {0};
  int err = read_object(&c, root, chain_fields, QR_ARRAY_CNT(chain_fields), &p);
  if (!err) err = read_premine(&c, root, &p);
  if (!err) err = read_tasks(&c, root, &p);
  if (!err) err = check(&p, why, why_sz);
  if (!err) *out = p;
  json_decref(root);
  return err;
}

/* The whole file, to be freed by the caller; NULL with *err set. */
static char *slurp(const char *path, size_t *sz, int *err) {
  FILE *f = fopen(path, "rbe");
  if (!f) {
    *err = errno == ENOENT ? QR_ERR_NOTFOUND : QR_ERR_IO;
    return NULL;
  }
  char *text = malloc(QR_GENESIS_FILE_MAX_SZ + 1);
  *err = text ? QR_OK : QR_ERR_NOMEM;
  if (text) {
    *sz = fread(text, 1, QR_GENESIS_FILE_MAX_SZ + 1, f);
    if (ferror(f))
      *err = QR_ERR_IO;
    else if (*sz > QR_GENESIS_FILE_MAX_SZ)
      *err = QR_ERR_FORMAT;
  }
  fclose(f);
  if (!*err) return text;
  free(text);
  return NULL;
}

int qr_genesis_read(const char *path_or_profile, qr_params_t *out, char *why, size_t why_sz) {
  qr_params_t p;
  if (qr_params_profile(path_or_profile, &p)) {
    p.genesis_time_ms = QR_GENESIS_PROFILE_TIME_MS;
    int err = check(&p, why, why_sz);
    if (!err) *out = p;
    return err;
  }
  int err;
  size_t sz = 0;
  char *text = slurp(path_or_profile, &sz, &err);
  if (text) {
    err = qr_genesis_parse(text, sz, out, why, why_sz);
    free(text);
    return err;
  }
  if (err == QR_ERR_NOTFOUND) {
    snprintf(why, why_sz,
             "%s is neither a file nor a profile (main, devnet, regtest, regtest-catch, "
             "regtest-cartpole)",
             path_or_profile);
  } else if (err == QR_ERR_FORMAT) {
    snprintf(why, why_sz, "%s is larger than %u bytes", path_or_profile, QR_GENESIS_FILE_MAX_SZ);
  } else {
    snprintf(why, why_sz, "%s cannot be read", path_or_profile);
  }
  return err;
}

/* ---- writing: jansson reports a failed allocation as NULL, and passes NULL on to the end ---- */

static json_t *make_value(const field_t *f, const void *in) {
  char text[2 * QR_HASH_SZ + 1];
  switch (f->kind) {
  case UNSIGNED: return json_integer(f->sz == 4 ? (int64_t)qr_ld32(in) : (int64_t)qr_ld64(in));
  case SIGNED: return json_integer(f->sz == 4 ? (int32_t)qr_ld32(in) : (int64_t)qr_ld64(in));
  case NAME: return json_string(in);
  case HASH: return json_string(qr_hex(text, in, QR_HASH_SZ));
  case COMPACT: snprintf(text, sizeof text, "0x%08x", qr_ld32(in)); return json_string(text);
  case CHOICE: return json_string(f->words[qr_ld32(in)]);
  case ENV: return json_string(qr_env_get(qr_ld32(in))->name);
  case PART: break;
  }
  return NULL;
}

static json_t *make_object(const field_t *fields, size_t cnt, const void *base) {
  json_t *obj = json_object();
  for (size_t i = 0; i < cnt; i++) {
    if (fields[i].kind == PART) continue; /* the caller adds it */
    json_t *v = make_value(&fields[i], (const uint8_t *)base + fields[i].off);
    if (json_object_set_new(obj, fields[i].key, v)) {
      json_decref(obj);
      return NULL;
    }
  }
  return obj;
}

/* Adds v (taken) to obj; on failure frees obj and returns NULL. */
static json_t *add_part(json_t *obj, const char *key, json_t *v) {
  if (!json_object_set_new(obj, key, v)) return obj;
  json_decref(obj);
  return NULL;
}

static json_t *make_net(const qr_net_spec_t *s) {
  json_t *layers = json_array();
  for (uint32_t i = 0; i < s->layer_cnt; i++) {
    bool conv = s->layers[i].kind == QR_LAYER_CONV3;
    json_t *l =
        make_object(conv_fields, conv ? QR_ARRAY_CNT(conv_fields) : DENSE_FIELD_CNT, &s->layers[i]);
    if (json_array_append_new(layers, l)) {
      json_decref(layers);
      return NULL;
    }
  }
  return add_part(make_object(net_fields, QR_ARRAY_CNT(net_fields), s), "layers", layers);
}

static json_t *make_task(const qr_task_params_t *t) {
  return add_part(make_object(task_fields, QR_ARRAY_CNT(task_fields), t), "net", make_net(&t->net));
}

static json_t *make_chain(const qr_params_t *p) {
  json_t *tasks = json_array(), *premine = json_array();
  bool ok = tasks && premine;
  for (uint32_t i = 0; ok && i < p->task_cnt; i++) {
    ok = !json_array_append_new(tasks, make_task(&p->tasks[i]));
  }
  for (uint32_t i = 0; ok && i < p->premine_cnt; i++) {
    premine_t e = {p->premine[i].to, p->premine[i].amount};
    ok = !json_array_append_new(premine, make_object(premine_fields, 2, &e));
  }
  if (!ok) {
    json_decref(tasks);
    json_decref(premine);
    return NULL;
  }
  json_t *obj = make_object(chain_fields, QR_ARRAY_CNT(chain_fields), p);
  obj = add_part(obj, "premine", premine);
  return add_part(obj, "tasks", tasks);
}

char *qr_genesis_text(const qr_params_t *p) {
  json_t *obj = make_chain(p);
  char *text = obj ? json_dumps(obj, JSON_COMPACT) : NULL;
  json_decref(obj);
  return text;
}

int qr_genesis_write(const char *path, const qr_params_t *p, char *why, size_t why_sz) {
  int err = check(p, why, why_sz);
  if (err) return err;
  json_t *obj = make_chain(p);
  if (!obj) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  FILE *f = fopen(path, "wxe");
  if (!f) {
    err = errno == EEXIST ? QR_ERR_BUSY : QR_ERR_IO;
    snprintf(why, why_sz,
             err == QR_ERR_BUSY ? "%s exists; it is not overwritten" : "%s cannot be made", path);
  } else {
    bool ok = !json_dumpf(obj, f, JSON_INDENT(2)) && fputc('\n', f) != EOF;
    if (fclose(f) || !ok) {
      remove(path);
      snprintf(why, why_sz, "%s cannot be written", path);
      err = QR_ERR_IO;
    }
  }
  json_decref(obj);
  return err;
}
