/* The server's side of TLS: one certificate a process, replaced while connections go on.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/tls.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHAIN_MAX      8
#define FILE_BYTES_MAX ((size_t)256 << 10)
#define KEEP_NS        INT64_C(120000000000) /* far beyond the deadline of a handshake */

struct identity {
    struct identity *next; /* an older one */
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned int chain_length;
    gnutls_privkey_t key;
    int64_t expires_ms;
    int64_t replaced_ns;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct lock lock;
static struct identity *current; /* guarded by lock */

static void prepare(void)
{
    lock_init(&lock);
}

static void identity_free(struct identity *identity)
{
    for (unsigned int i = 0; i < identity->chain_length; i++) {
        gnutls_pcert_deinit(&identity->chain[i]);
    }
    if (identity->key != NULL) {
        gnutls_privkey_deinit(identity->key);
    }
    mem_free(identity);
}

/* ---------------------------------------------------------------- reading */

static enum status read_file(const char *path, const char *option, gnutls_datum_t *out,
                             struct error *error)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) != 0) {
        error_set(error, STATUS_IO, "%s: could not open '%s': %s", option, path, strerror(errno));
        goto failed;
    }
    if (!S_ISREG(about.st_mode) || (size_t)about.st_size > FILE_BYTES_MAX) {
        error_set(error, STATUS_INVALID, "%s: '%s' is not a plain file of at most 256 KiB", option,
                  path);
        goto failed;
    }
    out->data = mem_alloc((size_t)about.st_size + 1);
    if (out->data == NULL) {
        error_set(error, STATUS_NO_MEMORY, "could not read '%s': out of memory", path);
        goto failed;
    }
    ssize_t got = read(fd, out->data, (size_t)about.st_size);
    if (got != about.st_size) {
        error_set(error, STATUS_IO, "%s: could not read '%s': %s", option, path, strerror(errno));
        goto failed;
    }
    out->size = (unsigned int)got;
    close(fd);
    return STATUS_OK;

failed:
    if (fd >= 0) {
        close(fd);
    }
    return error_code(error, "bad_value", option);
}

static enum status refuse(const char *path, const char *option, int code, struct error *error)
{
    error_set(error, STATUS_INVALID, "%s: cannot use '%s': %s", option, path,
              gnutls_strerror(code));
    return error_code(error, "bad_value", option);
}

/* Whether the key is the one of the first certificate. */
static bool belong_together(const struct identity *identity)
{
    unsigned char of_chain[32], of_key[32];
    size_t chain_size = sizeof(of_chain), key_size = sizeof(of_key);
    gnutls_pubkey_t public = NULL;
    bool same = gnutls_pubkey_init(&public) == 0 &&
                gnutls_pubkey_import_privkey(public, identity->key, 0, 0) == 0 &&
                gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, of_key, &key_size) == 0 &&
                gnutls_pubkey_get_key_id(identity->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256,
                                         of_chain, &chain_size) == 0 &&
                chain_size == key_size && memcmp(of_chain, of_key, key_size) == 0;
    if (public != NULL) {
        gnutls_pubkey_deinit(public);
    }
    return same;
}

static int64_t expiry_of(const gnutls_pcert_st *first)
{
    gnutls_x509_crt_t certificate = NULL;
    int64_t expires_ms = 0;
    if (gnutls_pcert_export_x509((gnutls_pcert_st *)(uintptr_t)first, &certificate) == 0) {
        expires_ms = (int64_t)gnutls_x509_crt_get_expiration_time(certificate) * 1000;
        gnutls_x509_crt_deinit(certificate);
    }
    return expires_ms;
}

static enum status fill(struct identity *identity, const char *certificate, const char *key,
                        struct error *error)
{
    gnutls_datum_t chain_text = {NULL, 0}, key_text = {NULL, 0};
    unsigned int length = CHAIN_MAX;
    enum status status = read_file(certificate, "tls.cert", &chain_text, error);
    if (status == STATUS_OK) {
        status = read_file(key, "tls.key", &key_text, error);
    }
    if (status == STATUS_OK) {
        int code = gnutls_pcert_list_import_x509_raw(identity->chain, &length, &chain_text,
                                                     GNUTLS_X509_FMT_PEM, 0);
        identity->chain_length = code == 0 ? length : 0;
        status = code == 0 ? STATUS_OK : refuse(certificate, "tls.cert", code, error);
    }
    if (status == STATUS_OK) {
        int code = gnutls_privkey_init(&identity->key);
        if (code == 0) {
            code = gnutls_privkey_import_x509_raw(identity->key, &key_text, GNUTLS_X509_FMT_PEM,
                                                  NULL, 0);
        }
        status = code == 0 ? STATUS_OK : refuse(key, "tls.key", code, error);
    }
    if (status == STATUS_OK && !belong_together(identity)) {
        error_set(error, STATUS_INVALID,
                  "tls.key: the key in '%s' is not that of the certificate in '%s'", key,
                  certificate);
        status = error_code(error, "bad_value", "tls.key");
    }
    if (key_text.data != NULL) {
        explicit_bzero(key_text.data, key_text.size);
    }
    mem_free(chain_text.data);
    mem_free(key_text.data);
    return status;
}

/* Those that no handshake can use any more. */
static void free_outdated(struct identity **link, int64_t now_ns)
{
    while (*link != NULL) {
        struct identity *identity = *link;
        if (now_ns - identity->replaced_ns > KEEP_NS) {
            *link = identity->next;
            identity_free(identity);
        } else {
            link = &identity->next;
        }
    }
}

enum status tls_load(const char *certificate, const char *key, struct error *error)
{
    pthread_once(&once, prepare);
    struct identity *identity = mem_zeroed(1, sizeof(*identity));
    if (identity == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not read '%s': out of memory",
                         certificate);
    }
    if (fill(identity, certificate, key, error) != STATUS_OK) {
        identity_free(identity);
        return error->status;
    }
    identity->expires_ms = expiry_of(&identity->chain[0]);
    int64_t now_ns = clock_monotonic_ns();
    lock_acquire(&lock);
    identity->next = current;
    if (current != NULL) {
        current->replaced_ns = now_ns;
    }
    current = identity;
    free_outdated(&identity->next, now_ns);
    lock_release(&lock);
    return STATUS_OK;
}

void tls_unload(void)
{
    pthread_once(&once, prepare);
    lock_acquire(&lock);
    struct identity *identity = current;
    current = NULL;
    lock_release(&lock);
    while (identity != NULL) {
        struct identity *next = identity->next;
        identity_free(identity);
        identity = next;
    }
}

int64_t tls_expires_ms(void)
{
    pthread_once(&once, prepare);
    lock_acquire(&lock);
    int64_t expires_ms = current != NULL ? current->expires_ms : 0;
    lock_release(&lock);
    return expires_ms;
}

/* ---------------------------------------------------------------- in use */

static int retrieve(gnutls_session_t session, const gnutls_datum_t *authorities,
                    int authority_count, const gnutls_pk_algorithm_t *algorithms,
                    int algorithm_count, gnutls_pcert_st **chain, unsigned int *length,
                    gnutls_privkey_t *key)
{
    (void)session;
    (void)authorities;
    (void)authority_count;
    (void)algorithms;
    (void)algorithm_count;
    lock_acquire(&lock);
    struct identity *identity = current;
    lock_release(&lock);
    if (identity == NULL) {
        return -1;
    }
    *chain = identity->chain;
    *length = identity->chain_length;
    *key = identity->key;
    return 0;
}

void *tls_retrieve_callback(void)
{
    return (void *)(uintptr_t)retrieve;
}

bool tls_send(void *session, const struct iovec *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *bytes = parts[i].iov_base;
        for (size_t left = parts[i].iov_len; left > 0;) {
            ssize_t sent = gnutls_record_send((gnutls_session_t)session, bytes, left);
            if (sent <= 0) {
                return false;
            }
            bytes += sent;
            left -= (size_t)sent;
        }
    }
    return gnutls_bye((gnutls_session_t)session, GNUTLS_SHUT_WR) == 0;
}
