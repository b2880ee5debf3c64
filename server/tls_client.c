/* The commands' side of TLS: a socket that is connected already becomes an encrypted one.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/tls_client.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>

struct tls_client {
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials;
};

static enum status failed(const char *what, int code, struct error *error)
{
    return error_set(error, STATUS_IO, "could not %s: %s", what, gnutls_strerror(code));
}

static enum status read_authorities(struct tls_client *client, const char *file,
                                    struct error *error)
{
    if (file == NULL) {
        int code = gnutls_certificate_set_x509_system_trust(client->credentials);
        return code >= 0 ? STATUS_OK : failed("read the system's authorities", code, error);
    }
    int code =
        gnutls_certificate_set_x509_trust_file(client->credentials, file, GNUTLS_X509_FMT_PEM);
    if (code > 0) {
        return STATUS_OK;
    }
    return error_set(error, STATUS_INVALID, "cannot use authorities '%s': %s", file,
                     code < 0 ? gnutls_strerror(code) : "there is no certificate in it");
}

static enum status explain(struct tls_client *client, int code, struct error *error)
{
    gnutls_datum_t text = {NULL, 0};
    if (code != GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR ||
        gnutls_certificate_verification_status_print(
            gnutls_session_get_verify_cert_status(client->session), GNUTLS_CRT_X509, &text, 0) !=
            0) {
        return failed("agree on TLS", code, error);
    }
    error_set(error, STATUS_INVALID, "the certificate does not hold: %s", (char *)text.data);
    gnutls_free(text.data);
    return error_hint(error, "Ask by a name that it has; --ca FILE names who signed it.");
}

static enum status handshake(struct tls_client *client, int timeout_ms, struct error *error)
{
    int code;
    gnutls_handshake_set_timeout(client->session, (unsigned int)timeout_ms);
    do {
        code = gnutls_handshake(client->session);
    } while (code < 0 && gnutls_error_is_fatal(code) == 0);
    return code == 0 ? STATUS_OK : explain(client, code, error);
}

enum status tls_client_open(int fd, const struct tls_peer *peer, struct tls_client **out,
                            struct error *error)
{
    unsigned char ignored[16];
    struct tls_client *client = mem_zeroed(1, sizeof(*client));
    if (client == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not start TLS: out of memory");
    }
    int code = gnutls_init(&client->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
    if (code == 0) {
        code = gnutls_certificate_allocate_credentials(&client->credentials);
    }
    if (code == 0) {
        code = gnutls_priority_set_direct(client->session,
                                          "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", NULL);
    }
    if (code == 0) {
        code = gnutls_credentials_set(client->session, GNUTLS_CRD_CERTIFICATE, client->credentials);
    }
    bool numeric = inet_pton(AF_INET, peer->host, ignored) == 1 ||
                   inet_pton(AF_INET6, peer->host, ignored) == 1;
    if (code == 0 && !numeric) {
        code = gnutls_server_name_set(client->session, GNUTLS_NAME_DNS, peer->host,
                                      strlen(peer->host));
    }
    enum status status = code == 0 ? STATUS_OK : failed("start TLS", code, error);
    if (status == STATUS_OK) {
        status = read_authorities(client, peer->authorities, error);
    }
    if (status == STATUS_OK) {
        gnutls_session_set_verify_cert(client->session, peer->any_name ? NULL : peer->host, 0);
        gnutls_transport_set_int(client->session, fd);
        status = handshake(client, peer->timeout_ms, error);
    }
    if (status != STATUS_OK) {
        tls_client_close(client);
        return status;
    }
    *out = client;
    return STATUS_OK;
}

/* Lengths as they are; failures as errno. */
static ssize_t result_of(ssize_t code)
{
    if (code >= 0) {
        return code;
    }
    if (code == GNUTLS_E_PREMATURE_TERMINATION) {
        return 0; /* whether the answer is whole is seen from its length */
    }
    if (code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED) {
        errno = EAGAIN;
    } else {
        errno = code == GNUTLS_E_PUSH_ERROR ? EPIPE : EIO;
    }
    return -1;
}

ssize_t tls_client_send(struct tls_client *client, const char *bytes, size_t length)
{
    return result_of(gnutls_record_send(client->session, bytes, length));
}

ssize_t tls_client_receive(struct tls_client *client, char *bytes, size_t maximum)
{
    return result_of(gnutls_record_recv(client->session, bytes, maximum));
}

void tls_client_close(struct tls_client *client)
{
    if (client != NULL) {
        if (client->session != NULL) {
            gnutls_deinit(client->session);
        }
        if (client->credentials != NULL) {
            gnutls_certificate_free_credentials(client->credentials);
        }
        mem_free(client);
    }
}
