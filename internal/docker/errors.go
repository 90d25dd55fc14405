package docker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"berth/internal/session"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

const retryEngineAfter = 5 * time.Second

// engineMessages lists failures that only the engine's message identifies: it answers 500 to all of these. The first match
// counts.
var engineMessages = []struct {
	words   string
	code    session.Code
	message string
}{
	{
		"no space left on device", session.CodeDiskFull,
		"the engine's disk is full; remove what is not needed there and try again",
	},
	{"port is already allocated", session.CodePortTaken, portMessage},
	{"address already in use", session.CodePortTaken, portMessage},
	{"cannot assign requested address", session.CodePortTaken, portMessage},
	{
		"exec format error", session.CodeStartFailed,
		"the image is made for another kind of processor; build it for the engine's",
	},
	{
		"error setting rlimit", session.CodeStartFailed,
		"the engine may not give the session its limit of open files; start the engine with LimitNOFILE=1048576",
	},
	{
		"executable file not found", session.CodeStartFailed,
		"the image does not hold the program that it is meant to run; build it again, or name another one",
	},
}

const portMessage = "the engine could not publish a port for the session; try again, and if that does not help, " +
	"set SESSION_PUBLISH_IP to an address that the engine's host has"

// failure translates an error into the domain's codes. ctx is the caller's; doing names the operation, for the log.
func (r *Runtime) failure(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	wrapped := fmt.Errorf("%s: %w", doing, causeOf(err))
	if isA[*session.Failure](err) {
		return wrapped
	}
	if cause := context.Cause(ctx); cause != nil && !answeredByEngine(err) {
		return contextFailure(cause, wrapped)
	}
	for _, s := range engineMessages {
		if strings.Contains(err.Error(), s.words) {
			return session.Errorf(s.code, "%s", s.message).Because(wrapped)
		}
	}
	switch {
	case isConnectionLost(err):
		return session.Errorf(session.CodeEngineUnavailable, "the Docker engine cannot be reached: %s; "+
			"\"berth docker test\" tells its operator more", connectionLossReason(err)).After(retryEngineAfter).Because(wrapped)
	case errdefs.IsNotFound(err):
		return session.Errorf(session.CodeNotFound, "the engine has no such object").Because(wrapped)
	case errdefs.IsConflict(err):
		return session.Errorf(session.CodeConflict,
			"the container's state does not allow it; look at it and try again").Because(wrapped)
	case errdefs.IsInvalidArgument(err):
		return session.Errorf(session.CodeInvalid,
			"the Docker engine refuses the request; check the image's name and the limits").Because(wrapped)
	}
	return wrapped
}

// contextFailure is the failure of a call after the caller's context has ended.
func contextFailure(cause, err error) error {
	if f, ok := errors.AsType[*session.Failure](cause); ok {
		return f.Because(err)
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		return session.Errorf(session.CodeEngineUnavailable,
			"the Docker engine did not answer in time; try again").After(retryEngineAfter).Because(err)
	}
	return session.Errorf(session.CodeCanceled, "the operation was canceled").Because(err)
}

// answeredByEngine reports whether err is an answer of the engine, and not a failure of the connection to it.
func answeredByEngine(err error) bool {
	return errdefs.IsNotFound(err) || errdefs.IsConflict(err) || errdefs.IsInvalidArgument(err) || errdefs.IsInternal(err)
}

// connectionError is the failure of a connection to the engine. The client library drops the cause of failures that it
// recognizes by text or type; it recognizes neither here.
type connectionError struct{ err error }

func (*connectionError) Error() string { return "the connection failed" }

// causeOf returns the connection's own error, without what the client library wrapped around it.
func causeOf(err error) error {
	if hidden, ok := errors.AsType[*connectionError](err); ok {
		return hidden.err
	}
	return err
}

// connectionLossReason says why no complete answer arrived, without an address: users see it too.
func connectionLossReason(err error) string {
	err = causeOf(err)
	var unverified *tls.CertificateVerificationError
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.As(err, &unverified):
		return "its certificate is not trusted: " + untrusted(unverified.Err)
	case errors.As(err, new(x509.HostnameError)), errors.As(err, new(x509.UnknownAuthorityError)), errors.As(err, new(x509.CertificateInvalidError)):
		return "its certificate is not trusted: " + untrusted(err)
	case errors.As(err, &op) && op.Op == "remote error":
		return "it, or the guard in front of it, refuses Berth's client certificate, which was revoked, has expired, or is not trusted there"
	case errors.Is(err, http.ErrSchemeMismatch), isA[tls.RecordHeaderError](err):
		return "the server at its address does not use TLS"
	case isA[*net.DNSError](err):
		return "its host name is not known"
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens at its address, or at that of the guard in front of it"
	case errors.Is(err, os.ErrPermission):
		return "Berth's user may not open its socket"
	case errors.Is(err, errTooSlow), errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "it did not answer in time"
	}
	if isA[*gatewayError](err) {
		return "the guard in front of it runs, and the engine behind that does not answer"
	}
	return "the connection ended without an answer"
}

// isConnectionLost reports whether no complete answer arrived from the engine.
func isConnectionLost(err error) bool {
	return isA[*connectionError](err) || isA[*gatewayError](err) || isA[net.Error](err) || client.IsErrConnectionFailed(err) ||
		errors.Is(err, errTooSlow) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// unreachable says what to do about an engine that could not be reached at the start. Its messages name the host: they are
// for the operator.
func unreachable(at endpoint, err error) error {
	err = causeOf(err)
	say := func(format string, args ...any) error {
		return session.Errorf(session.CodeEngineUnavailable, format, args...).Because(err)
	}
	var unverified *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &unverified):
		return say("the certificate of the engine at %s is not trusted (%s): "+
			"set DOCKER_CA_CERT to the CA that signed it, or make new ones with \"berth certs init\"", at.host, untrusted(unverified.Err))
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert: the other side ended the handshake
		return say("the engine at %s refuses our certificate: set DOCKER_CLIENT_CERT and DOCKER_CLIENT_KEY to a pair "+
			"that its CA signed, or make new ones with \"berth certs init\"", at.host)
	case errors.Is(err, http.ErrSchemeMismatch), isA[tls.RecordHeaderError](err):
		return say("the engine at %s does not use TLS:  set DOCKER_HOST to its TLS port, or start \"berth guard\" in front of it", at.host)
	case isA[*net.DNSError](err):
		return say("the host of %s is not known: set DOCKER_HOST to where the engine listens", at.host)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return say("no Docker engine listens at %s: start it (\"make run\" does), or set DOCKER_HOST to where it listens", at.host)
	case errors.Is(err, os.ErrPermission):
		return say("this user may not open %s: add it to the group that owns the socket, or use TLS", at.host)
	case errors.Is(err, context.Canceled):
		return session.Errorf(session.CodeCanceled, "the operation was canceled").Because(err)
	}
	if isA[*gatewayError](err) {
		return say("what listens at %s cannot reach its engine: start the Docker engine behind it", at.host)
	}
	return say("the Docker engine at %s does not answer: see that it runs and that nothing between drops the connection", at.host)
}

func untrusted(err error) string {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return "it is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired or is not valid yet"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "it is signed by an unknown CA"
	}
	return "it cannot be verified: " + err.Error()
}

// isA reports whether an error of type T is in the chain of err.
func isA[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
