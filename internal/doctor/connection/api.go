package connection

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	minAPIMinor = 41 // of version 1: Docker Engine 20.10, the oldest that Berth works with
	attempts    = 3  // until a connection that ends without an alert counts as that
	pings       = 5
	maxAnswer   = 16 << 20
)

// authenticate sends the first request. With TLS 1.3 the engine verifies the client's certificate after the handshake
// has succeeded for the client.
func (r *run) authenticate(ctx context.Context) Step {
	var err error
	r.first, err = r.ask(ctx, r.standard())
	switch {
	case err == nil:
		return pass("the engine accepts %s", r.own.leaf.Subject)
	case alerted(err):
		return fail(ClientRefused, "use a client certificate that is valid and that the engine's own authority signed: its tlscacert, or the guard's ca.pem; "+
			"the log there (journalctl -u docker, or berth guard's) has the reason",
			"the engine refuses the client's certificate of %s (%v)", r.own.leaf.Subject, errors.Unwrap(err))
	case verification(err) != nil:
		return serverInvalid(verification(err))
	case isTimeout(err):
		return r.noAnswer("%s completes the TLS handshake, but does not answer a request within %s", r.address, r.Timeout)
	case ended(err):
		return fail(ClosedUnanswered, "see that the engine behind "+r.host+":"+r.port+" runs, and the log of what terminates TLS there",
			"%s completes the TLS handshake, and closes the connection without an answer", r.address)
	default:
		return notAnEngine("the server at %s does not use HTTP: %v", r.address, err)
	}
}

func notAnEngine(format string, args ...any) Step {
	return fail("not-an-engine", "point DOCKER_HOST to a Docker engine or to berth guard", format, args...)
}

func engineError(format string, args ...any) Step {
	return fail("engine-error", "see the engine's log (journalctl -u docker)", format, args...)
}

func (r *run) noAnswer(format string, args ...any) Step {
	return fail(NoAnswer, "see whether the engine is overloaded or hangs (journalctl -u docker); --timeout waits longer than "+r.Timeout.String(), format, args...)
}

// ended reports whether the other side closed the connection without an alert.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (r *run) negotiate(context.Context) Step {
	if bad, ok := refused(r.first.status, r.first.body); ok {
		return bad
	}
	version := r.first.header.Get("Api-Version")
	minor, ok := strings.CutPrefix(version, "1.")
	number, err := strconv.Atoi(minor)
	if r.first.status != http.StatusOK || !ok || err != nil {
		return notAnEngine("the server at %s (status %d) is not a Docker engine", r.address, r.first.status)
	}
	r.report.APIVersion, r.report.Engine = version, r.first.header.Get("Server")
	if number < minAPIMinor {
		return fail("engine-too-old", "upgrade the engine to Docker 20.10 or newer", "the engine has API %s; Berth needs 1.%d or newer", version, minAPIMinor)
	}
	return pass("API %s", version)
}

// refused recognizes a plugin of the engine, or a proxy in front of it, by its answer.
func refused(status int, body []byte) (Step, bool) {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fail(Denied, "let the authorization plugin of the engine (authorization-plugins in daemon.json), or the proxy in front of it, allow the "+
			"client of this certificate what Berth needs",
			"an authorization plugin or proxy says %d: %s", status, message(body)), true
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fail(EngineAway, "start the engine behind it (systemctl start docker), and see that berth guard has the right --socket",
			"what stands in front of the engine says %d: %s", status, message(body)), true
	}
	return Step{}, false
}

// message is the message of an answer, for people.
func message(body []byte) string {
	var answer struct {
		Message string `json:"message"`
	}
	text := string(body)
	if json.Unmarshal(body, &answer) == nil && answer.Message != "" {
		text = answer.Message
	}
	text = strings.Join(strings.Fields(text), " ")
	const enough = 300
	if len(text) > enough {
		text = text[:enough] + "…"
	}
	return text
}

// httpClient asks over kept connections, with everything verified.
func (r *run) httpClient() *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "tcp", r.address)
		},
		TLSClientConfig: r.standard(),
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// url is where the engine answers over TLS, by the name of its certificate.
func (r *run) url(path string) string { return "https://" + net.JoinHostPort(r.name, r.port) + path }

// send does one request over a kept connection and reads the answer.
func (r *run) send(ctx context.Context, method, path string, content any) (status int, answer []byte, err error) {
	var body io.Reader
	if content != nil {
		text, err := json.Marshal(content)
		if err != nil {
			return 0, nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.url(path), body)
	if err != nil {
		return 0, nil, err
	}
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, answer, err
}

// call asks the API; its answer has a status of the 200s. A bad Step says why there is none.
func (r *run) call(ctx context.Context, method, path string, content any) ([]byte, *Step) {
	status, text, err := r.send(ctx, method, "/v"+r.report.APIVersion+path, content)
	bad, ok := refused(status, text)
	switch {
	case isTimeout(err):
		bad = r.noAnswer("the engine did not answer within %s", r.Timeout)
	case err != nil:
		bad = engineError("%v", err)
	case ok:
	case status == http.StatusNotFound: // of what is asked for, only the image of a container can be missing
		bad = fail(imageMissing, "pull or build the image "+r.Image+" on the engine, or name another with --image",
			"the engine says %d: %s", status, message(text))
	case status >= http.StatusMultipleChoices:
		bad = engineError("the engine says %d: %s", status, message(text))
	default:
		return text, nil
	}
	return nil, &bad
}

func (r *run) ping(ctx context.Context) Step {
	var took []time.Duration
	for i := range pings + 1 {
		begin := time.Now()
		if _, bad := r.call(ctx, http.MethodGet, "/_ping", nil); bad != nil {
			return *bad
		}
		if i > 0 { // the first one makes the connection
			took = append(took, time.Since(begin))
		}
	}
	slices.Sort(took)
	r.report.Latency.PingMS = milliseconds(took[len(took)/2])
	return pass("%.2f ms, the median of %d", r.report.Latency.PingMS, pings)
}

func (r *run) list(ctx context.Context) Step {
	text, bad := r.call(ctx, http.MethodGet, "/containers/json?all=1", nil)
	if bad != nil {
		return *bad
	}
	var containers []struct{ ID string }
	if err := json.Unmarshal(text, &containers); err != nil {
		return notAnEngine("the list of containers cannot be read: %v", err)
	}
	return pass("%s", count(len(containers), "container"))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
