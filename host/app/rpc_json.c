#include "app/rpc_json.h"

#include <jansson.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "wire/header.h"

/* ---- requests ---- */

static const struct {
  const char *name;
  enum qr_query_kind kind;
  const char *param;
} methods[] = {
    {"status", QR_QUERY_STATUS, 0},
    {"block", QR_QUERY_BLOCK, "height"},
    {"peers", QR_QUERY_PEERS, "first"},
    {"account", QR_QUERY_ACCOUNT, "pk"},
    {"send", QR_QUERY_SEND, "tx"},
    {"verify", QR_QUERY_VERIFY, "height"},
    {"mining", QR_QUERY_MINING, "enable"},
    {"backup", QR_QUERY_BACKUP, "dir"},
    {"devices", QR_QUERY_DEVICES, "first"},
    {"reset", QR_QUERY_RESET, "unit"},
    {"ban", QR_QUERY_BAN, 0},
};

static int fail(int code, char *why, size_t why_sz, const char *text) {
  snprintf(why, why_sz, "%s", text);
  return code;
}

/* Keeps the id as JSON text, so that the answer repeats it exactly. */
static bool keep_id(const json_t *id, char out[QR_RPC_ID_SZ]) {
  if (!id) return true;
  if (!json_is_integer(id) && !json_is_string(id) && !json_is_null(id)) return false;
  char text[QR_RPC_ID_SZ];
  size_t n = json_dumpb(id, text, sizeof text, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
  if (!n || n >= sizeof text) return false;
  memcpy(out, text, n);
  out[n] = 0;
  return true;
}

static int take_param(qr_query_t *q, const json_t *value, char *why, size_t why_sz) {
  const char *text = json_string_value(value);
  switch (q->kind) {
  case QR_QUERY_BLOCK:
  case QR_QUERY_VERIFY:
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
      return fail(QR_ERR_ARG, why, why_sz, "params.height must be a number from 0 up");
    }
    q->height = (uint64_t)json_integer_value(value);
    return QR_OK;
  case QR_QUERY_PEERS:
    if (!value) return QR_OK; /* from the first */
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > UINT16_MAX)
      return fail(QR_ERR_ARG, why, why_sz, "params.first must be a number from 0 up");
    q->peer_first = (uint32_t)json_integer_value(value);
    return QR_OK;
  case QR_QUERY_DEVICES:
    if (!value) return QR_OK; /* from the first */
    /* fallthrough */
  case QR_QUERY_RESET:
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) >= (json_int_t)QR_ACCEL_UNIT_MAX_CNT) {
      return fail(QR_ERR_ARG, why, why_sz, "params.first or params.unit must be a unit's number");
    }
    q->unit = (uint32_t)json_integer_value(value);
    return QR_OK;
  case QR_QUERY_ACCOUNT:
    if (!text || !qr_unhex(q->account.b, sizeof q->account.b, text)) {
      return fail(QR_ERR_ARG, why, why_sz, "params.pk must be a public key of 64 hex digits");
    }
    return QR_OK;
  case QR_QUERY_SEND:
    if (!text || !qr_unhex(q->tx, sizeof q->tx, text)) {
      return fail(QR_ERR_ARG, why, why_sz,
                  "params.tx must be a signed transaction of 306 hex digits");
    }
    return QR_OK;
  case QR_QUERY_MINING:
    if (!json_is_boolean(value))
      return fail(QR_ERR_ARG, why, why_sz, "params.enable must be true or false");
    q->enable = json_is_true(value);
    return QR_OK;
  case QR_QUERY_BACKUP:
    if (!text || text[0] != '/' || strlen(text) >= sizeof q->dir)
      return fail(QR_ERR_ARG, why, why_sz,
                  "params.dir must be an absolute path of less than 512 bytes");
    snprintf(q->dir, sizeof q->dir, "%s", text);
    return QR_OK;
  default: return QR_OK;
  }
}

/* Whom, an identity or an IP address, and for how many hours; 0 lifts the ban. */
static int take_ban(qr_query_t *q, const json_t *params, char *why, size_t why_sz) {
  const char *who = json_string_value(json_object_get(params, "who"));
  const json_t *hours = json_object_get(params, "hours");
  qr_link_addr_t a;
  if (!json_is_integer(hours) || json_integer_value(hours) < 0 ||
      json_integer_value(hours) > (json_int_t)QR_QUERY_BAN_MAX_HOURS)
    return fail(QR_ERR_ARG, why, why_sz, "params.hours must be a number from 0 to 87600");
  q->ban_hours = (uint32_t)json_integer_value(hours);
  if (who && qr_unhex(q->ban_key, sizeof q->ban_key, who)) return QR_OK;
  if (!who || !qr_link_addr_parse(who, 1, &a))
    return fail(QR_ERR_ARG, why, why_sz,
                "params.who must be an identity of 64 hex digits or an IP address");
  q->ban_ip = true;
  memset(q->ban_key, 0, sizeof q->ban_key);
  memcpy(q->ban_key, a.ip, sizeof a.ip);
  return QR_OK;
}

static int parse_root(const json_t *root, qr_rpc_request_t *out, char *why, size_t why_sz) {
  if (!json_is_object(root)) return fail(QR_ERR_FORMAT, why, why_sz, "a request is a JSON object");
  if (!keep_id(json_object_get(root, "id"), out->id)) {
    return fail(QR_ERR_FORMAT, why, why_sz, "id must be a number or a string of at most 64 bytes");
  }
  const char *method = json_string_value(json_object_get(root, "method"));
  if (!method) return fail(QR_ERR_FORMAT, why, why_sz, "method is missing");
  if (!strcmp(method, "stop")) {
    out->stop = true;
    return QR_OK;
  }
  for (size_t i = 0; i < QR_ARRAY_CNT(methods); i++) {
    if (strcmp(method, methods[i].name)) continue;
    out->query.kind = methods[i].kind;
    if (out->query.kind == QR_QUERY_BAN)
      return take_ban(&out->query, json_object_get(root, "params"), why, why_sz);
    if (!methods[i].param) return QR_OK;
    return take_param(&out->query,
                      json_object_get(json_object_get(root, "params"), methods[i].param), why,
                      why_sz);
  }
  return fail(
      QR_ERR_UNSUPPORTED, why, why_sz,
      "no such method; there are status, block, peers, account, send, verify, mining, backup, "
      "devices, reset, ban, stop");
}

int qr_rpc_parse(const char *line, size_t sz, qr_rpc_request_t *out, char *why, size_t why_sz) {
  memset(out, 0, sizeof *out);
  memcpy(out->id, "null", 5);
  json_error_t error;
  json_t *root = json_loadb(line, sz, JSON_REJECT_DUPLICATES, &error);
  if (!root) {
    snprintf(why, why_sz, "not JSON: %s", error.text);
    return QR_ERR_FORMAT;
  }
  int rc = parse_root(root, out, why, why_sz);
  json_decref(root);
  return rc;
}

/* ---- answers ---- */

/* Numbers that a signed 64-bit JSON integer cannot hold go out as decimal text, never wrapped. */
static json_t *u64(uint64_t v) {
  if (v <= INT64_MAX) return json_integer((json_int_t)v);
  char text[24];
  snprintf(text, sizeof text, "%llu", (unsigned long long)v);
  return json_string(text);
}

static json_t *hex(const void *p, size_t sz) {
  char text[2 * QR_HEADER_SZ + 1];
  QR_ASSERT(sz <= QR_HEADER_SZ);
  return json_string(qr_hex(text, p, sz));
}

/* Text from another tile: cut at the field's size, and JSON refuses what is not UTF-8. */
static json_t *text(const char *s, size_t sz) {
  size_t n = strnlen(s, sz);
  json_t *j = json_stringn(s, n);
  return j ? j : json_string("?");
}

static void put(json_t *o, const char *key, json_t *value) {
  QR_ASSERT(value && !json_object_set_new(o, key, value));
}

#define PUT_TEXT(o, s, field) put(o, #field, text((s)->field, sizeof(s)->field))
#define PUT_HASH(o, s, field) put(o, #field, hex((s)->field.b, QR_HASH_SZ))
#define PUT_NUM(o, s, field) put(o, #field, u64((s)->field))
#define PUT_BOOL(o, s, field) put(o, #field, json_boolean((s)->field))

static json_t *task_json(const qr_status_task_t *t) {
  json_t *o = json_object();
  PUT_TEXT(o, t, name);
  PUT_NUM(o, t, block_cnt);
  PUT_NUM(o, t, reward_last);
  put(o, "score_last_q16", json_integer(t->score_last_q16));
  put(o, "baseline_last_q16", json_integer(t->baseline_last_q16));
  put(o, "td_last_q16", json_integer(t->td_last_q16));
  return o;
}

static json_t *verify_status_json(const qr_status_verify_t *v) {
  static const char *const stages[QR_EXEC_STAGE_CNT] = {
      [QR_EXEC_REPLAY] = "replay_ns",     [QR_EXEC_GATHER] = "gather_ns",
      [QR_EXEC_TARGETS] = "targets_ns",   [QR_EXEC_TRAIN] = "train_ns",
      [QR_EXEC_ROOT] = "root_ns",         [QR_EXEC_CHECK_ACTIONS] = "check_actions_ns",
      [QR_EXEC_EVALUATE] = "evaluate_ns",
  };
  static const char *const waits[QR_VERIFY_WAIT_CNT] = {
      [QR_VERIFY_WAIT_BLOCK] = "wait_block_ns",
      [QR_VERIFY_WAIT_MODEL] = "wait_model_ns",
      [QR_VERIFY_WAIT_LINE] = "wait_line_ns",
      [QR_VERIFY_WAIT_COMMIT] = "wait_commit_ns",
  };
  json_t *o = json_object();
  PUT_NUM(o, v, tile_cnt);
  PUT_NUM(o, v, block_cnt);
  for (uint32_t i = 0; i < QR_EXEC_STAGE_CNT; i++) {
    if (stages[i]) put(o, stages[i], u64(v->stage_ns[i]));
  }
  for (uint32_t i = 0; i < QR_VERIFY_WAIT_CNT; i++) put(o, waits[i], u64(v->wait_ns[i]));
  PUT_NUM(o, v, commit_cnt);
  PUT_NUM(o, v, commit_ns);
  return o;
}

static json_t *pool_json(const qr_status_pool_t *p) {
  json_t *o = json_object();
  PUT_NUM(o, p, max_cnt);
  PUT_NUM(o, p, fee_floor);
  PUT_NUM(o, p, taken);
  PUT_NUM(o, p, replaced);
  PUT_NUM(o, p, evicted);
  PUT_NUM(o, p, expired);
  PUT_NUM(o, p, refused);
  PUT_NUM(o, p, returned);
  return o;
}

static json_t *status_json(const qr_status_t *s) {
  static const char *const writing[] = {[QR_WRITING_ON] = "writing",
                                        [QR_WRITING_DISK_FULL] = "disk full",
                                        [QR_WRITING_RECOVERS] = "recovering"};
  json_t *o = json_object(), *tasks = json_array();
  PUT_TEXT(o, s, chain);
  PUT_HASH(o, s, genesis);
  PUT_HASH(o, s, rules);
  PUT_NUM(o, s, height);
  PUT_HASH(o, s, tip);
  PUT_HASH(o, s, tip_model);
  PUT_HASH(o, s, state_root);
  PUT_NUM(o, s, tip_time_ms);
  PUT_NUM(o, s, tip_task);
  PUT_NUM(o, s, tip_reward);
  PUT_NUM(o, s, attempts);
  PUT_NUM(o, s, attempts_cancelled);
  PUT_NUM(o, s, steps_done);
  PUT_NUM(o, s, steps_kept);
  PUT_NUM(o, s, mining_ns);
  put(o, "verify", verify_status_json(&s->verify));
  PUT_NUM(o, s, blocks_mined);
  PUT_NUM(o, s, blocks_verified);
  PUT_NUM(o, s, blocks_rejected);
  PUT_NUM(o, s, reorgs);
  PUT_NUM(o, s, reorg_depth_max);
  PUT_NUM(o, s, peer_cnt);
  put(o, "mempool_cnt", u64(s->pool.cnt));
  put(o, "pool", pool_json(&s->pool));
  PUT_NUM(o, s, supply);
  PUT_BOOL(o, s, mining);
  PUT_BOOL(o, s, syncing);
  PUT_NUM(o, s, sync_target);
  PUT_NUM(o, s, sync_left_s);
  PUT_NUM(o, s, sync_rate_milli);
  PUT_NUM(o, s, sync_peer_cnt);
  put(o, "store", json_string(writing[s->writing]));
  PUT_NUM(o, s, held_from);
  PUT_NUM(o, s, base_height);
  PUT_NUM(o, s, prune_depth);
  PUT_NUM(o, s, commit_failures);
  PUT_TEXT(o, s, accel);
  PUT_TEXT(o, s, miner_pk);
  for (uint32_t i = 0; i < s->task_cnt && i < QR_TASK_MAX_CNT; i++)
    json_array_append_new(tasks, task_json(&s->tasks[i]));
  put(o, "tasks", tasks);
  PUT_NUM(o, s, reward_first);
  PUT_NUM(o, s, reward_last);
  PUT_NUM(o, s, reward_mean);
  PUT_NUM(o, s, uptime_ms);
  return o;
}

static json_t *block_json(const qr_reply_block_t *b) {
  json_t *o = json_object();
  qr_header_t header;
  const qr_header_t *h = &header;
  qr_header_decode(b->header, &header);
  PUT_HASH(o, b, hash);
  PUT_NUM(o, b, confirmations);
  PUT_TEXT(o, b, work);
  PUT_BOOL(o, b, held);
  PUT_NUM(o, b, tx_cnt);
  PUT_NUM(o, b, body_sz);
  PUT_NUM(o, h, version);
  PUT_NUM(o, h, chain_id);
  PUT_HASH(o, h, rules);
  PUT_NUM(o, h, height);
  PUT_HASH(o, h, parent);
  PUT_NUM(o, h, time_ms);
  PUT_NUM(o, h, target);
  PUT_NUM(o, h, task);
  PUT_HASH(o, h, miner);
  PUT_HASH(o, h, model_in);
  PUT_HASH(o, h, tx_root);
  PUT_HASH(o, h, state_root);
  PUT_NUM(o, h, nonce);
  PUT_HASH(o, h, model_out);
  PUT_HASH(o, h, trace_last);
  PUT_HASH(o, h, trace_root);
  PUT_HASH(o, h, actions_root);
  PUT_NUM(o, h, reward);
  PUT_HASH(o, h, env_root);
  PUT_HASH(o, h, replay_root);
  return o;
}

static json_t *classes_json(const uint64_t bytes[QR_LINK_CLASS_CNT]) {
  static const char *const names[QR_LINK_CLASS_CNT] = {[QR_LINK_CONTROL] = "control",
                                                       [QR_LINK_BLOCK] = "block",
                                                       [QR_LINK_TX] = "tx",
                                                       [QR_LINK_SYNC] = "sync"};
  json_t *o = json_object();
  for (int c = 0; c < QR_LINK_CLASS_CNT; c++) put(o, names[c], u64(bytes[c]));
  return o;
}

static json_t *peers_json(const qr_reply_peers_t *p) {
  static const char *const roles[] = {[QR_PEER_ROLE_INBOUND] = "inbound",
                                      [QR_PEER_ROLE_STATIC] = "configured",
                                      [QR_PEER_ROLE_BOOK] = "book"};
  json_t *o = json_object(), *list = json_array();
  for (uint32_t i = 0; i < p->cnt && i < QR_REPLY_PEER_MAX_CNT; i++) {
    const qr_reply_peer_t *peer = &p->peers[i];
    json_t *e = json_object();
    PUT_HASH(e, peer, identity);
    PUT_TEXT(e, peer, addr);
    PUT_TEXT(e, peer, group);
    put(e, "role",
        json_string((unsigned)peer->role < QR_ARRAY_CNT(roles) ? roles[peer->role] : "?"));
    PUT_BOOL(e, peer, inbound);
    PUT_BOOL(e, peer, pruned);
    PUT_NUM(e, peer, height);
    PUT_NUM(e, peer, rtt_ns);
    PUT_NUM(e, peer, rx_bytes);
    PUT_NUM(e, peer, tx_bytes);
    put(e, "rx_class", classes_json(peer->rx_class));
    put(e, "tx_class", classes_json(peer->tx_class));
    PUT_NUM(e, peer, connected_ms);
    PUT_NUM(e, peer, misbehaviour);
    json_array_append_new(list, e);
  }
  PUT_NUM(o, p, first);
  PUT_NUM(o, p, total);
  PUT_NUM(o, p, inbound_cnt);
  PUT_NUM(o, p, outbound_cnt);
  PUT_NUM(o, p, book_new);
  PUT_NUM(o, p, book_tried);
  PUT_NUM(o, p, bans);
  PUT_NUM(o, p, inbound_refused);
  PUT_NUM(o, p, evicted);
  put(o, "peers", list);
  return o;
}

static json_t *verify_json(const qr_reply_verify_t *v) {
  json_t *o = json_object();
  put(o, "verdict", json_string(qr_verdict_str(v->verdict)));
  PUT_HASH(o, v, hash);
  PUT_HASH(o, v, model_out);
  PUT_HASH(o, v, trace_last);
  PUT_HASH(o, v, actions_root);
  PUT_NUM(o, v, reward);
  PUT_HASH(o, v, env_root);
  PUT_HASH(o, v, replay_root);
  PUT_NUM(o, v, step_cnt);
  PUT_NUM(o, v, exec_ns);
  return o;
}

/* Sensors that say nothing are left out: a zero would be taken for a value. */
static void put_told(json_t *o, const char *key, int32_t v) {
  if (v != QR_ACCEL_UNTOLD) put(o, key, json_integer(v));
}

static json_t *unit_json(const qr_accel_unit_t *u) {
  static const char *const states[] = {"present", "ready", "starting", "quarantined"};
  json_t *o = json_object(), *rails = json_array();
  PUT_TEXT(o, u, id);
  PUT_TEXT(o, u, serial);
  PUT_TEXT(o, u, name);
  PUT_TEXT(o, u, kernel);
  PUT_TEXT(o, u, why);
  put(o, "state", json_string((unsigned)u->state < QR_ARRAY_CNT(states) ? states[u->state] : "?"));
  PUT_BOOL(o, u, emulated);
  PUT_NUM(o, u, jobs_done);
  PUT_NUM(o, u, jobs_failed);
  PUT_NUM(o, u, checked);
  PUT_NUM(o, u, hw_errors);
  PUT_NUM(o, u, retries);
  PUT_NUM(o, u, reloads);
  PUT_NUM(o, u, resets);
  if (u->valid_ago_ms != UINT64_MAX) PUT_NUM(o, u, valid_ago_ms);
  put_told(o, "temp_c", u->temp_c);
  for (uint32_t i = 0; i < u->rail_cnt && i < QR_ACCEL_RAIL_MAX_CNT; i++) {
    json_t *rail = json_object();
    PUT_TEXT(rail, &u->rails[i], name);
    put_told(rail, "mv", u->rails[i].mv);
    put_told(rail, "ma", u->rails[i].ma);
    json_array_append_new(rails, rail);
  }
  put(o, "rails", rails);
  return o;
}

json_t *qr_rpc_units_json(const qr_accel_unit_t *units, uint32_t cnt) {
  json_t *list = json_array();
  for (uint32_t i = 0; i < cnt; i++) json_array_append_new(list, unit_json(&units[i]));
  return list;
}

static json_t *devices_json(const qr_reply_devices_t *d) {
  json_t *o = json_object();
  uint32_t cnt = d->cnt < QR_REPLY_UNIT_MAX_CNT ? d->cnt : QR_REPLY_UNIT_MAX_CNT;
  PUT_TEXT(o, d, driver);
  PUT_TEXT(o, d, device);
  PUT_NUM(o, d, first);
  PUT_NUM(o, d, total);
  put(o, "units", qr_rpc_units_json(d->units, cnt));
  return o;
}

static json_t *result_json(const qr_reply_t *r) {
  json_t *o;
  switch (r->kind) {
  case QR_QUERY_STATUS: return status_json(&r->status);
  case QR_QUERY_BLOCK: return block_json(&r->block);
  case QR_QUERY_PEERS: return peers_json(&r->peers);
  case QR_QUERY_VERIFY: return verify_json(&r->verify);
  case QR_QUERY_DEVICES: return devices_json(&r->devices);
  case QR_QUERY_ACCOUNT:
    o = json_object();
    PUT_BOOL(o, &r->account, found);
    PUT_NUM(o, &r->account, balance);
    PUT_NUM(o, &r->account, seq);
    return o;
  case QR_QUERY_SEND:
    o = json_object();
    PUT_HASH(o, r, txid);
    return o;
  default:
    o = json_object();
    put(o, "ok", json_true());
    return o;
  }
}

/* Puts {"id":<id>,"<key>":<value>}\n together: the id is JSON text already. Takes value. */
static size_t finish(const char *id, const char *key, json_t *value, char *out, size_t out_sz) {
  int head = snprintf(out, out_sz, "{\"id\":%s,\"%s\":", id, key);
  QR_ASSERT(head > 0 && (size_t)head + 2 < out_sz);
  size_t room = out_sz - (size_t)head - 2;
  size_t n = json_dumpb(value, out + head, room, JSON_COMPACT | JSON_ENCODE_ANY);
  json_decref(value);
  QR_ASSERT(n && n <= room);
  memcpy(out + head + n, "}\n", 2);
  return (size_t)head + n + 2;
}

/* A message may quote what was asked, which need not be UTF-8, or be cut within a character. */
static json_t *message_json(const char *message) {
  char ascii[512];
  json_t *whole = json_string(message);
  if (whole) return whole;
  snprintf(ascii, sizeof ascii, "%s", message);
  for (char *p = ascii; *p; p++) {
    if (*p & 0x80) *p = '?';
  }
  return json_string(ascii);
}

static json_t *error_json(int code, const char *message) {
  json_t *e = json_object();
  put(e, "code", json_integer(code));
  put(e, "message", message_json(message));
  return e;
}

size_t qr_rpc_answer_error(const char *id, int code, const char *message, char *out,
                           size_t out_sz) {
  return finish(id, "error", error_json(code, message), out, out_sz);
}

size_t qr_rpc_answer_ok(const char *id, char *out, size_t out_sz) {
  json_t *o = json_object();
  put(o, "ok", json_true());
  return finish(id, "result", o, out, out_sz);
}

size_t qr_rpc_answer(const char *id, const qr_reply_t *r, char *out, size_t out_sz) {
  if (r->kind == QR_QUERY_SEND && r->verdict != QR_VERDICT_OK) {
    char message[96];
    snprintf(message, sizeof message, "the node refused the transaction: %s",
             qr_verdict_str(r->verdict));
    json_t *e = error_json(r->err ? r->err : QR_ERR_ARG, message);
    put(e, "verdict", json_string(qr_verdict_str(r->verdict)));
    return finish(id, "error", e, out, out_sz);
  }
  if (r->err == QR_ERR_UNSUPPORTED && (r->kind == QR_QUERY_PEERS || r->kind == QR_QUERY_BAN)) {
    return qr_rpc_answer_error(
        id, r->err, "this node has no network: it runs with link.driver = none", out, out_sz);
  }
  if (r->err && (r->kind == QR_QUERY_BACKUP || r->kind == QR_QUERY_RESET))
    return qr_rpc_answer_error(id, r->err, *r->why ? r->why : qr_err_str(r->err), out, out_sz);
  if (r->err) {
    const char *message = qr_err_str(r->err);
    if (r->err == QR_ERR_NOTFOUND && r->kind == QR_QUERY_BLOCK)
      message = "no block at this height of the main chain";
    if (r->err == QR_ERR_NOTFOUND && r->kind == QR_QUERY_VERIFY)
      message = "no block at this height of the main chain, or this node has pruned it";
    if (r->err == QR_ERR_NOTFOUND && r->kind == QR_QUERY_BAN) message = "there is no such ban";
    if (r->err == QR_ERR_FULL && r->kind == QR_QUERY_BAN)
      message = "there are too many bans already: lift some first";
    return qr_rpc_answer_error(id, r->err, message, out, out_sz);
  }
  return finish(id, "result", result_json(r), out, out_sz);
}
