/*
 * SHA-256 and HMAC-SHA-256 (FIPS 180-4, RFC 2104) for Node-API, by the OpenSSL that is in the node executable. node:crypto's own way there
 * costs some 5 µs for each digest of a handshake that is alone on its processor, most of it in code and objects around the hash.
 *
 * All bytes are in one workspace that JavaScript writes to and reads from, so that a call takes two numbers:
 *
 *   0     32     64          128         192
 *   │ digest │ - │ key ^ ipad │ key ^ opad │ input …
 */
#define NAPI_VERSION 8
#define OPENSSL_SUPPRESS_DEPRECATED

#include <node_api.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 64
#define INNER_AT 64
#define OUTER_AT 128
#define INPUT_AT 192

struct workspace {
  uint8_t *bytes;
  size_t length;
  napi_ref array; /* keeps it */
};

static napi_value fail(napi_env env, const char *what) {
  napi_throw_range_error(env, NULL, what);
  return NULL;
}

static struct workspace *workspace_of(napi_env env) {
  void *workspace = NULL;
  napi_get_instance_data(env, &workspace);
  return workspace;
}

/* open(workspace: Uint8Array): what the others work on from now on */
static napi_value open_workspace(napi_env env, napi_callback_info info) {
  struct workspace *workspace = workspace_of(env);
  napi_typedarray_type type;
  napi_value value;
  size_t count = 1, length = 0;
  void *bytes = NULL;
  bool is = false;
  if (napi_get_cb_info(env, info, &count, &value, NULL, NULL) != napi_ok || count < 1) return fail(env, "digest: no workspace");
  if (napi_is_typedarray(env, value, &is) != napi_ok || !is) return fail(env, "digest: the workspace is no array");
  if (napi_get_typedarray_info(env, value, &type, &length, &bytes, NULL, NULL) != napi_ok || type != napi_uint8_array ||
      length < INPUT_AT)
    return fail(env, "digest: the workspace is too small");
  if (workspace->array != NULL) napi_delete_reference(env, workspace->array);
  napi_create_reference(env, value, 1, &workspace->array);
  workspace->bytes = bytes;
  workspace->length = length;
  return NULL;
}

/* The one argument, the input's length; -1 if it doesn't fit. */
static int64_t input_length(napi_env env, napi_callback_info info, const struct workspace *workspace) {
  napi_value value;
  size_t count = 1;
  uint32_t length;
  if (napi_get_cb_info(env, info, &count, &value, NULL, NULL) != napi_ok || count < 1) return -1;
  if (napi_get_value_uint32(env, value, &length) != napi_ok) return -1;
  if (workspace->bytes == NULL || length > workspace->length - INPUT_AT) return -1;
  return length;
}

/* sha256(length): digest of that many bytes of input */
static napi_value sha256(napi_env env, napi_callback_info info) {
  struct workspace *workspace = workspace_of(env);
  int64_t length = input_length(env, info, workspace);
  SHA256_CTX context;
  if (length < 0) return fail(env, "digest: the input is longer than the workspace");
  SHA256_Init(&context);
  SHA256_Update(&context, workspace->bytes + INPUT_AT, (size_t)length);
  SHA256_Final(workspace->bytes, &context);
  return NULL;
}

/* hmacSha256(length): HMAC of that many bytes of input, by the key's two blocks */
static napi_value hmac_sha256(napi_env env, napi_callback_info info) {
  struct workspace *workspace = workspace_of(env);
  int64_t length = input_length(env, info, workspace);
  uint8_t inner[SHA256_DIGEST_LENGTH];
  SHA256_CTX context;
  if (length < 0) return fail(env, "digest: the input is longer than the workspace");
  SHA256_Init(&context);
  SHA256_Update(&context, workspace->bytes + INNER_AT, BLOCK);
  SHA256_Update(&context, workspace->bytes + INPUT_AT, (size_t)length);
  SHA256_Final(inner, &context);
  SHA256_Init(&context);
  SHA256_Update(&context, workspace->bytes + OUTER_AT, BLOCK);
  SHA256_Update(&context, inner, sizeof inner);
  SHA256_Final(workspace->bytes, &context);
  return NULL;
}

static void forget(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  free(data);
}

NAPI_MODULE_INIT() {
  const struct {
    const char *name;
    napi_callback call;
  } functions[] = {{"open", open_workspace}, {"sha256", sha256}, {"hmacSha256", hmac_sha256}};
  struct workspace *workspace = calloc(1, sizeof *workspace);
  if (workspace == NULL || napi_set_instance_data(env, workspace, forget, NULL) != napi_ok) {
    free(workspace);
    return fail(env, "digest: out of memory");
  }
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  return exports;
}
