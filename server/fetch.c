/* libcurl behind fetch.h: loading it, one call, and what its failures mean.
 * SPDX-License-Identifier: Apache-2.0
 *
 * libcurl and what it needs (31 libraries on Debian 12) are loaded by dlopen at the first call.
 * Measured with Debian 12's libcurl3-gnutls on two cores: linked in, `forecastd --version`
 * took 14.2 ms of processor time instead of 9.2 (best of 40 each, one after the other) and an idle
 * daemon held 17.4 MB instead of 14.4, for something that most daemons never use.
 */
#include "server/fetch.h"

#include "base/check.h"
#include "base/library.h"
#include "base/memory.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 10000L
#define RETRY_AFTER_MAX_S  3600

/* The functions used of the library. */
struct library {
    CURLcode (*global_init)(long flags);
    CURL *(*easy_init)(void);
    void (*easy_reset)(CURL *curl);
    void (*easy_cleanup)(CURL *curl);
    CURLcode (*easy_setopt)(CURL *curl, CURLoption option, ...);
    CURLcode (*easy_perform)(CURL *curl);
    CURLcode (*easy_getinfo)(CURL *curl, CURLINFO info, ...);
    const char *(*easy_strerror)(CURLcode code);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *line);
    void (*slist_free_all)(struct curl_slist *list);
};

static struct library library;
static bool library_ready;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;

struct fetch {
    CURL *curl;
    char problem[CURL_ERROR_SIZE];
};

/* ---------------------------------------------------------------- loading */

static void load_library(void)
{
    static const char *const names[] = {"libcurl-gnutls.so.4", "libcurl.so.4", NULL};
    static const struct library_symbol symbols[] = {
        {"curl_global_init", &library.global_init, false},
        {"curl_easy_init", &library.easy_init, false},
        {"curl_easy_reset", &library.easy_reset, false},
        {"curl_easy_cleanup", &library.easy_cleanup, false},
        {"curl_easy_setopt", &library.easy_setopt, false},
        {"curl_easy_perform", &library.easy_perform, false},
        {"curl_easy_getinfo", &library.easy_getinfo, false},
        {"curl_easy_strerror", &library.easy_strerror, false},
        {"curl_slist_append", &library.slist_append, false},
        {"curl_slist_free_all", &library.slist_free_all, false},
    };
    library_ready = library_load(names, symbols, ARRAY_COUNT(symbols)) &&
                    library.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

enum status fetch_prepare(struct error *error)
{
    pthread_once(&library_once, load_library);
    if (!library_ready) {
        error_set(error, STATUS_UNSUPPORTED, "cannot call other servers: libcurl is not installed");
        return error_hint(error, "On Debian: apt-get install libcurl3-gnutls.");
    }
    return STATUS_OK;
}

enum status fetch_new(struct fetch **out, struct error *error)
{
    if (fetch_prepare(error) != STATUS_OK) {
        return error->status;
    }
    struct fetch *fetch = mem_zeroed(1, sizeof(*fetch));
    if (fetch != NULL) {
        fetch->curl = library.easy_init();
    }
    if (fetch == NULL || fetch->curl == NULL) {
        mem_free(fetch);
        return error_set(error, STATUS_NO_MEMORY, "could not call another server: out of memory");
    }
    *out = fetch;
    return STATUS_OK;
}

void fetch_free(struct fetch *fetch)
{
    if (fetch != NULL) {
        library.easy_cleanup(fetch->curl);
        mem_free(fetch);
    }
}

/* ---------------------------------------------------------------- one call */

static size_t take_bytes(char *bytes, size_t size, size_t count, void *context)
{
    struct text *body = context;
    text_add(body, bytes, size * count);
    return body->failed == STATUS_OK ? size * count : 0;
}

static int look_at_cancel(void *context, curl_off_t total, curl_off_t now, curl_off_t up_total,
                          curl_off_t up_now)
{
    const atomic_bool *cancel = context;
    (void)total;
    (void)now;
    (void)up_total;
    (void)up_now;
    return atomic_load(cancel) ? 1 : 0;
}

/* Headers as libcurl wants them: one element a line. False without memory. */
static bool make_headers(const struct fetch_request *request, struct curl_slist **list)
{
    char line[FETCH_SECRET_MAX + 64];
    const char *at = request->headers != NULL ? request->headers : "";
    struct curl_slist *more;
    if (request->body != NULL) {
        snprintf(line, sizeof(line), "Content-Type: %s", request->content_type);
        more = library.slist_append(*list, line);
        if (more == NULL) {
            return false;
        }
        *list = more;
    }
    while (*at != '\0') {
        size_t length = strcspn(at, "\n");
        snprintf(line, sizeof(line), "%.*s", (int)length, at);
        more = library.slist_append(*list, line);
        explicit_bzero(line, sizeof(line));
        if (more == NULL) {
            return false;
        }
        *list = more;
        at += length + (at[length] == '\n');
    }
    return true;
}

#define SET(option, value) failed |= library.easy_setopt(curl, option, value)

/* False where the library refuses an option: then it is another one than was built for. */
static bool set_options(struct fetch *fetch, const struct fetch_request *request,
                        struct fetch_reply *reply, struct curl_slist *headers)
{
    CURL *curl = fetch->curl;
    unsigned failed = 0;
    SET(CURLOPT_URL, request->url);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    if (!request->proxy_from_environment) {
        SET(CURLOPT_PROXY, ""); /* none, whatever the environment says */
    }
    SET(CURLOPT_QUICK_EXIT, 1L); /* a name server that hangs must not keep us from leaving */
    SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    SET(CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    SET(CURLOPT_ERRORBUFFER, fetch->problem);
    SET(CURLOPT_USERAGENT, "forecastd/" FORECASTD_VERSION);
    SET(CURLOPT_ACCEPT_ENCODING, "gzip");
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_WRITEFUNCTION, take_bytes);
    SET(CURLOPT_WRITEDATA, &reply->body);
    if (request->body != NULL) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_length);
        SET(CURLOPT_POSTFIELDS, request->body);
    }
    if (request->user != NULL) {
        SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        SET(CURLOPT_USERPWD, request->user);
    }
    if (request->ca_file != NULL) {
        SET(CURLOPT_CAINFO, request->ca_file);
    }
    if (request->cancel != NULL) {
        SET(CURLOPT_NOPROGRESS, 0L);
        SET(CURLOPT_XFERINFOFUNCTION, look_at_cancel);
        SET(CURLOPT_XFERINFODATA, request->cancel);
    }
    return failed == CURLE_OK;
}

static enum status meaning(const struct fetch *fetch, CURLcode code, const struct text *body,
                           struct error *error)
{
    const char *text = fetch->problem[0] != '\0' ? fetch->problem : library.easy_strerror(code);
    enum status status = STATUS_IO;
    if (body->failed != STATUS_OK) {
        return text_status(body, "the answer", error);
    }
    switch ((int)code) {
    case CURLE_OPERATION_TIMEDOUT:
        status = STATUS_TIMEOUT;
        break;
    case CURLE_ABORTED_BY_CALLBACK:
        return error_set(error, STATUS_CANCELLED, "the call was given up");
    case CURLE_OUT_OF_MEMORY:
        status = STATUS_NO_MEMORY;
        break;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
        status = STATUS_INVALID;
        break;
    default:
        break;
    }
    return error_set(error, status, "%s", text);
}

enum status fetch_call(struct fetch *fetch, const struct fetch_request *request,
                       struct fetch_reply *reply, struct error *error)
{
    struct curl_slist *headers = NULL;
    enum status status = STATUS_OK;
    memset(reply, 0, sizeof(*reply));
    text_init(&reply->body, request->answer_max);
    fetch->problem[0] = '\0';
    library.easy_reset(fetch->curl);
    if (!make_headers(request, &headers)) {
        status = error_set(error, STATUS_NO_MEMORY, "could not make the headers: out of memory");
    } else if (!set_options(fetch, request, reply, headers)) {
        status = error_set(error, STATUS_UNSUPPORTED, "this libcurl is too old: 7.87 is needed");
    } else {
        CURLcode code = library.easy_perform(fetch->curl);
        long answered = 0;
        curl_off_t retry_after_s = 0;
        library.easy_getinfo(fetch->curl, CURLINFO_RESPONSE_CODE, &answered);
        library.easy_getinfo(fetch->curl, CURLINFO_RETRY_AFTER, &retry_after_s);
        reply->status = (int)answered;
        if (retry_after_s > 0) {
            reply->retry_after_ms =
                1000 * (retry_after_s < RETRY_AFTER_MAX_S ? retry_after_s : RETRY_AFTER_MAX_S);
        }
        status = code == CURLE_OK ? STATUS_OK : meaning(fetch, code, &reply->body, error);
    }
    library.slist_free_all(headers);
    return status;
}

void fetch_reply_release(struct fetch_reply *reply)
{
    text_release(&reply->body);
}
