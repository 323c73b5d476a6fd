#include "CCurl.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// The functions that are used, by the library's own declarations (typeof keeps setopt variadic).
#define FUNCTIONS(X)                                                                                                   \
  X(curl_global_init) X(curl_version) X(curl_easy_init) X(curl_easy_setopt) X(curl_easy_getinfo) X(curl_easy_cleanup)   \
  X(curl_easy_strerror) X(curl_multi_init) X(curl_multi_setopt) X(curl_multi_cleanup) X(curl_multi_add_handle)          \
  X(curl_multi_remove_handle) X(curl_multi_perform) X(curl_multi_poll) X(curl_multi_wakeup) X(curl_multi_info_read)      \
  X(curl_easy_perform) X(curl_easy_reset) X(curl_slist_append) X(curl_slist_free_all)

// curl.h checks the types of setopt and getinfo by macros of the same names.
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt
#define DECLARE(name) static __typeof__(&name) p_##name;
FUNCTIONS(DECLARE)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char problem[256];
static int loaded;

static void load(void) {
  static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.so"};
  void *library = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names && !library; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    snprintf(problem, sizeof problem, "libcurl is missing: install it (Debian: libcurl4)");
    return;
  }
#define LOOK(name)                                                                                                     \
  p_##name = (__typeof__(&name))dlsym(library, #name);                                                                 \
  if (!p_##name) {                                                                                                     \
    snprintf(problem, sizeof problem, "libcurl is too old: it has no " #name " (7.68 or newer is needed)");             \
    return;                                                                                                            \
  }
  FUNCTIONS(LOOK)
  if (p_curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    snprintf(problem, sizeof problem, "libcurl did not start");
    return;
  }
  loaded = 1;
}

const char *ccurl_load(void) {
  pthread_once(&once, load);
  return loaded ? NULL : problem;
}

const char *ccurl_version(void) { return p_curl_version(); }

// --- Addresses

static int class4(uint32_t a) {
  uint32_t b = a >> 24, c = a >> 16 & 255;
  if (b == 169 && c == 254) return 2;
  if (b == 0 || b >= 224) return 2;
  if (b == 10 || b == 127 || (b == 172 && c >= 16 && c < 32) || (b == 192 && c == 168)) return 1;
  if (b == 100 && c >= 64 && c < 128) return 1;
  if (b == 192 && c == 0 && (a >> 8 & 255) == 0) return 1;
  if (b == 198 && (c == 18 || c == 19)) return 1;
  return 0;
}

static uint32_t four(const uint8_t *b) { return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]; }

static int class6(const uint8_t *a) {
  static const uint8_t zero[16];
  static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255};
  static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
  if (!memcmp(a, zero, 15) && a[15] == 1) return 1;
  if (!memcmp(a, mapped, 12) || !memcmp(a, nat64, 12)) return class4(four(a + 12));
  if (!memcmp(a, zero, 12)) return 2;
  if (a[0] == 0 && a[1] == 0x64 && a[2] == 0xff && a[3] == 0x9b) return 1;
  if (a[0] == 0x20 && a[1] == 0x02) return class4(four(a + 2));
  if (a[0] == 0x20 && a[1] == 0x01 && a[2] == 0 && a[3] == 0) return 1; // Teredo
  if ((a[0] & 0xfe) == 0xfc || (a[0] == 0xfe && (a[1] & 0xc0) == 0xc0)) return 1;
  if ((a[0] == 0xfe && (a[1] & 0xc0) == 0x80) || a[0] == 0xff) return 2;
  return 0;
}

static int class_of(const struct sockaddr *address) {
  if (address->sa_family == AF_INET) return class4(ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr));
  if (address->sa_family == AF_INET6) return class6(((const struct sockaddr_in6 *)address)->sin6_addr.s6_addr);
  return 2;
}

int ccurl_address_class(const char *text) {
  struct in_addr v4;
  struct in6_addr v6;
  if (inet_pton(AF_INET, text, &v4) == 1) return class4(ntohl(v4.s_addr));
  if (inet_pton(AF_INET6, text, &v6) == 1) return class6(v6.s6_addr);
  return -1;
}

// --- Requests

struct get {
  CURL *easy;
  ccurl_take head, body;
  void *context;
  int addresses;
  int address_refused;
  CURLcode code;
  char error[CURL_ERROR_SIZE];
};

static size_t take_head(char *bytes, size_t size, size_t count, void *context) {
  struct get *get = context;
  return get->head(bytes, size * count, get->context) ? size * count : 0;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *context) {
  struct get *get = context;
  return get->body(bytes, size * count, get->context) ? size * count : 0;
}

// Decides on the very address that is connected to, so that a second DNS answer changes nothing.
static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address) {
  struct get *get = context;
  (void)purpose;
  int class = get->addresses == ccurl_any_address ? 0 : class_of(&address->addr);
  if (class == 2 || (class == 1 && get->addresses == ccurl_public_addresses)) {
    get->address_refused = 1;
    errno = EACCES;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

void *ccurl_multi_new(int connections) {
  CURLM *multi = p_curl_multi_init();
  if (multi) p_curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)connections);
  return multi;
}

void ccurl_multi_free(void *multi) { p_curl_multi_cleanup(multi); }
void ccurl_multi_wake(void *multi) { p_curl_multi_wakeup(multi); }

int ccurl_multi_step(void *multi, int wait_ms) {
  int running = 0;
  if (p_curl_multi_perform(multi, &running) != CURLM_OK) return -1;
  if (p_curl_multi_poll(multi, NULL, 0, wait_ms, NULL) != CURLM_OK) return -1;
  return p_curl_multi_perform(multi, &running) == CURLM_OK ? 0 : -1;
}

static enum ccurl_end end_of(const struct get *get) {
  if (get->address_refused && get->code != CURLE_OK) return ccurl_address_refused;
  switch (get->code) {
  case CURLE_OK: return ccurl_done;
  case CURLE_WRITE_ERROR: return ccurl_stopped;
  case CURLE_UNSUPPORTED_PROTOCOL:
  case CURLE_URL_MALFORMAT:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_ISSUER_ERROR:
  case CURLE_SSL_INVALIDCERTSTATUS:
  case CURLE_OUT_OF_MEMORY: return ccurl_hopeless;
  default: return ccurl_broken;
  }
}

void *ccurl_multi_ended(void *multi, enum ccurl_end *end) {
  int left = 0;
  CURLMsg *message;
  while ((message = p_curl_multi_info_read(multi, &left))) {
    if (message->msg != CURLMSG_DONE) continue;
    CURL *easy = message->easy_handle;
    struct get *get = NULL;
    CURLcode code = message->data.result;
    p_curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&get);
    get->code = code;
    *end = end_of(get);
    p_curl_multi_remove_handle(multi, easy);
    return get;
  }
  return NULL;
}

void *ccurl_get_new(void *multi, const struct ccurl_options *options) {
  struct get *get = calloc(1, sizeof *get);
  if (!get) return NULL;
  get->easy = p_curl_easy_init();
  if (!get->easy) {
    free(get);
    return NULL;
  }
  get->head = options->head;
  get->body = options->body;
  get->context = options->context;
  get->addresses = options->addresses;
  CURL *easy = get->easy;
  char range[64];
  snprintf(range, sizeof range, "%lld-%lld", (long long)options->first, (long long)options->last);
  int failed = 0;
#define SET(option, value) failed |= p_curl_easy_setopt(easy, option, value) != CURLE_OK
  SET(CURLOPT_PRIVATE, get);
  SET(CURLOPT_ERRORBUFFER, get->error);
  SET(CURLOPT_URL, options->url);
#if LIBCURL_VERSION_NUM >= 0x075500
  // A library older than the headers does not know the newer spelling.
  if (p_curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK)
#endif
  {
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#pragma clang diagnostic pop
  }
  SET(CURLOPT_FOLLOWLOCATION, 0L);
  SET(CURLOPT_RANGE, range);
  SET(CURLOPT_USERAGENT, options->agent);
  if (options->bearer) {
    SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
    SET(CURLOPT_XOAUTH2_BEARER, options->bearer);
  }
  if (options->ca_file) SET(CURLOPT_CAINFO, options->ca_file);
  if (options->ca_path) SET(CURLOPT_CAPATH, options->ca_path);
  // Parallel ranges need connections of their own.
  SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  SET(CURLOPT_BUFFERSIZE, 256L << 10);
  SET(CURLOPT_NOSIGNAL, 1L);
  SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  SET(CURLOPT_CONNECTTIMEOUT_MS, options->connect_ms);
  SET(CURLOPT_LOW_SPEED_TIME, options->stall_seconds);
  SET(CURLOPT_LOW_SPEED_LIMIT, options->stall_rate);
  SET(CURLOPT_TCP_KEEPALIVE, 1L);
  SET(CURLOPT_HEADERFUNCTION, take_head);
  SET(CURLOPT_HEADERDATA, get);
  SET(CURLOPT_WRITEFUNCTION, take_body);
  SET(CURLOPT_WRITEDATA, get);
  SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
  SET(CURLOPT_OPENSOCKETDATA, get);
  if (failed || p_curl_multi_add_handle(multi, easy) != CURLM_OK) {
    p_curl_easy_cleanup(easy);
    free(get);
    return NULL;
  }
  return get;
}

void ccurl_get_free(void *multi, void *pointer) {
  struct get *get = pointer;
  p_curl_multi_remove_handle(multi, get->easy);
  p_curl_easy_cleanup(get->easy);
  free(get);
}

void *ccurl_get_context(void *get) { return ((struct get *)get)->context; }

long ccurl_get_status(void *get) {
  long status = 0;
  p_curl_easy_getinfo(((struct get *)get)->easy, CURLINFO_RESPONSE_CODE, &status);
  return status;
}

const char *ccurl_get_redirect(void *get) {
  char *url = NULL;
  p_curl_easy_getinfo(((struct get *)get)->easy, CURLINFO_REDIRECT_URL, &url);
  return url ? url : "";
}

const char *ccurl_get_address(void *get) {
  char *address = NULL;
  p_curl_easy_getinfo(((struct get *)get)->easy, CURLINFO_PRIMARY_IP, &address);
  return address ? address : "";
}

const char *ccurl_get_problem(void *pointer) {
  struct get *get = pointer;
  return get->error[0] ? get->error : p_curl_easy_strerror(get->code);
}

// --- Objects

struct object {
  const struct ccurl_object *asked;
  int64_t sent;
};

static size_t take_object(char *bytes, size_t size, size_t count, void *context) {
  struct object *object = context;
  return object->asked->body(bytes, size * count, object->asked->context) ? size * count : 0;
}

static size_t give_object(char *bytes, size_t size, size_t count, void *context) {
  struct object *object = context;
  ssize_t got;
  do got = pread(object->asked->upload, bytes, size * count, object->sent);
  while (got < 0 && errno == EINTR);
  if (got < 0) return CURL_READFUNC_ABORT;
  object->sent += got;
  return got;
}

static int seek_object(void *context, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  ((struct object *)context)->sent = offset;
  return CURL_SEEKFUNC_OK;
}

void *ccurl_session_new(void) { return p_curl_easy_init(); }
void ccurl_session_free(void *session) { p_curl_easy_cleanup(session); }

enum ccurl_end ccurl_object_perform(
    void *session, const struct ccurl_object *asked, long *status, int64_t *length, char *sentence) {
  CURL *easy = session;
  struct object object = {.asked = asked};
  struct get end = {0};
  struct curl_slist *headers = NULL, *longer;
  char line[4096];
  int failed = 0;
  p_curl_easy_reset(easy); // keeps connections
#define HEADER(...)                                                                                                    \
  do {                                                                                                                 \
    failed |= snprintf(line, sizeof line, __VA_ARGS__) >= (int)sizeof line;                                             \
    longer = p_curl_slist_append(headers, line);                                                                       \
    failed |= !longer;                                                                                                 \
    if (longer) headers = longer;                                                                                      \
  } while (0)
  HEADER("x-amz-content-sha256: %s", asked->sha256);
  if (asked->token) HEADER("x-amz-security-token: %s", asked->token);
  SET(CURLOPT_ERRORBUFFER, end.error);
  SET(CURLOPT_URL, asked->url);
  SET(CURLOPT_HTTPHEADER, headers);
  SET(CURLOPT_AWS_SIGV4, asked->signature);
  SET(CURLOPT_USERPWD, asked->user);
  SET(CURLOPT_FOLLOWLOCATION, 0L);
  SET(CURLOPT_USERAGENT, "longshore");
  // Some servers never send "100 Continue". Not asking for it would take a header, and the library signs it without sending it.
  SET(CURLOPT_EXPECT_100_TIMEOUT_MS, 200L);
  if (asked->ca_file) SET(CURLOPT_CAINFO, asked->ca_file);
  if (asked->ca_path) SET(CURLOPT_CAPATH, asked->ca_path);
  SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  SET(CURLOPT_NOSIGNAL, 1L);
  SET(CURLOPT_CONNECTTIMEOUT_MS, asked->connect_ms);
  SET(CURLOPT_LOW_SPEED_TIME, asked->stall_seconds);
  SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
  SET(CURLOPT_WRITEFUNCTION, take_object);
  SET(CURLOPT_WRITEDATA, &object);
  if (!strcmp(asked->method, "HEAD")) SET(CURLOPT_NOBODY, 1L);
  else if (asked->upload >= 0) {
    SET(CURLOPT_UPLOAD, 1L);
    SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)asked->size);
    SET(CURLOPT_READFUNCTION, give_object);
    SET(CURLOPT_READDATA, &object);
    SET(CURLOPT_SEEKFUNCTION, seek_object);
    SET(CURLOPT_SEEKDATA, &object);
  } else if (strcmp(asked->method, "GET")) SET(CURLOPT_CUSTOMREQUEST, asked->method);
  if (asked->first >= 0) {
    snprintf(line, sizeof line, "%lld-%lld", (long long)asked->first, (long long)asked->last);
    SET(CURLOPT_RANGE, line);
  }
  end.code = failed ? CURLE_OUT_OF_MEMORY : p_curl_easy_perform(easy);
  *status = 0;
  curl_off_t announced = -1;
  p_curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, status);
  p_curl_easy_getinfo(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
  *length = announced;
  snprintf(sentence, 256, "%s", failed ? "libcurl did not take an option; it may be too old (7.75 or newer is needed)"
                                       : end.error[0] ? end.error : p_curl_easy_strerror(end.code));
  // The buffers above end with this call.
  p_curl_easy_setopt(easy, CURLOPT_HTTPHEADER, (struct curl_slist *)NULL);
  p_curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, (char *)NULL);
  p_curl_slist_free_all(headers);
  return end_of(&end);
}
