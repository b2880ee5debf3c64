/* The server's side of TLS: one certificate a process, replaced while connections go on.
 * SPDX-License-Identifier: Apache-2.0
 *
 * libmicrohttpd asks for the certificate at every handshake (tls_retrieve), so a new one is used
 * from the next connection on; those that are open keep what they began with. A replaced
 * certificate is kept until no handshake can still use it.
 *
 * TLS 1.2 and 1.3 with ephemeral keys and authenticated ciphers, nothing else.
 */
#ifndef SERVER_TLS_H
#define SERVER_TLS_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define TLS_PRIORITIES                                                                             \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:-CIPHER-ALL:"      \
    "+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305:%SERVER_PRECEDENCE"

/* Reads a chain and its key (PEM) and uses them from now on. STATUS_IO or STATUS_INVALID name the
 * file at fault; what was in use before stays. Any thread. */
enum status tls_load(const char *certificate, const char *key, struct error *error) MUST_USE;

/* Forgets all of it. No connection is open any more. */
void tls_unload(void);

/* When the certificate in use expires, in milliseconds since 1970; 0 where there is none. */
int64_t tls_expires_ms(void);

/* A gnutls_certificate_retrieve_function2 for MHD_OPTION_HTTPS_CERT_CALLBACK. */
void *tls_retrieve_callback(void);

/* Sends on a session of libmicrohttpd's without waiting, then says that nothing more comes; false
 * where not all of it went out. */
bool tls_send(void *session, const struct iovec *parts, size_t count);

#endif
