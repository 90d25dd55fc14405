package tlscheck

import (
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
	attempts    = 3  // until a connection that ends without a word counts as that
	pings       = 5
	maxAnswer   = 16 << 20
)

// authenticate sends the first request. With TLS 1.3 the engine judges the client's certificate after the handshake
// has succeeded for the client.
func (r *run) authenticate(ctx context.Context) outcome {
	var err error
	for range attempts {
		r.first, err = r.ask(ctx, r.standard())
		// A refusal can be overtaken by the end of its connection.
		if !ended(err) {
			break
		}
	}
	switch {
	case err == nil:
		return pass("the engine accepts %s", r.own.leaf.Subject)
	case alerted(err):
		return fail(ClientRefused, "the engine refuses the client's certificate of %s (%v)", r.own.leaf.Subject, errors.Unwrap(err))
	case verification(err) != nil:
		return fail(ServerInvalid, "the engine's certificate cannot be verified: %v", verification(err))
	case isTimeout(err):
		return fail(NoAnswer, "%s shakes hands and does not answer a request within %s", r.address, r.Timeout)
	case ended(err):
		return fail(ClosedUnanswered, "%s shakes hands and ends the connection without an answer", r.address)
	default:
		return fail(NotAnEngine, "what answers at %s does not speak HTTP: %v", r.address, err)
	}
}

// ended reports whether the other side hung up without saying why.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (r *run) negotiate(context.Context) outcome {
	if bad, ok := refused(r.first.status, r.first.body); ok {
		return bad
	}
	version := r.first.header.Get("Api-Version")
	minor, ok := strings.CutPrefix(version, "1.")
	number, err := strconv.Atoi(minor)
	if r.first.status != http.StatusOK || !ok || err != nil {
		return fail(NotAnEngine, "what answers at %s (status %d) is not a Docker engine", r.address, r.first.status)
	}
	r.report.APIVersion, r.report.Engine = version, r.first.header.Get("Server")
	if number < minAPIMinor {
		return fail(EngineTooOld, "the engine speaks API %s; Berth needs 1.%d or newer", version, minAPIMinor)
	}
	return pass("API %s", version)
}

// refused tells what stands in front of the engine, or within it, from an answer.
func refused(status int, body []byte) (outcome, bool) {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fail(Denied, "an authorization plugin or proxy says %d: %s", status, said(body)), true
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fail(EngineAway, "what stands in front of the engine says %d: %s", status, said(body)), true
	}
	return outcome{}, false
}

// said is the message of an answer, for people.
func said(body []byte) string {
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

// call does one request; its answer has a status of the 200s. A bad outcome says why there is none.
func (r *run) call(ctx context.Context, method, path string, send any) ([]byte, *outcome) {
	bad := func(o outcome) ([]byte, *outcome) { return nil, &o }
	var body io.Reader
	if send != nil {
		text, err := json.Marshal(send)
		if err != nil {
			return bad(fail(EngineError, "%v", err))
		}
		body = strings.NewReader(string(text))
	}
	url := "https://" + net.JoinHostPort(r.name, r.port) + "/v" + r.report.APIVersion + path
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return bad(fail(EngineError, "%v", err))
	}
	if send != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.client.Do(req)
	if err == nil {
		defer resp.Body.Close()
		var text []byte
		text, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err == nil {
			if o, ok := refused(resp.StatusCode, text); ok {
				return bad(o)
			}
			if resp.StatusCode >= http.StatusMultipleChoices {
				return bad(fail(engineCode(resp.StatusCode), "the engine says %d: %s", resp.StatusCode, said(text)))
			}
			return text, nil
		}
	}
	if isTimeout(err) {
		return bad(fail(NoAnswer, "the engine did not answer within %s", r.Timeout))
	}
	return bad(fail(EngineError, "%v", err))
}

func engineCode(status int) Code {
	if status == http.StatusNotFound {
		return ImageMissing
	}
	return EngineError
}

func (r *run) ping(ctx context.Context) outcome {
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

func (r *run) list(ctx context.Context) outcome {
	text, bad := r.call(ctx, http.MethodGet, "/containers/json?all=1", nil)
	if bad != nil {
		return *bad
	}
	var containers []struct{ ID string }
	if err := json.Unmarshal(text, &containers); err != nil {
		return fail(NotAnEngine, "the list of containers cannot be read: %v", err)
	}
	return pass("%s", count(len(containers), "container"))
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
