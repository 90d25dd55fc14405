package git

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"berth/internal/session"
)

// Serve answers a request of a session. Its credential has been removed, and any that is left is not passed on.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, caller session.Caller) {
	q, err := parse(r)
	if err != nil {
		s.refuse(w, r, caller, "git-request", r.Method+" "+r.URL.Path, err.Error())
		return
	}
	what := q.host + "/" + q.path
	rule, refusal := s.ruleFor(q, caller)
	if refusal != "" {
		s.refuse(w, r, caller, "git", q.service+" "+what, refusal)
		return
	}
	out, err := s.outgoing(r, q, rule)
	if err != nil {
		s.opts.Logger.ErrorContext(r.Context(), "credential of a git host cannot be read", "host", q.host, "error", err)
		fail(w, http.StatusBadGateway, "the credential for "+q.host+" cannot be read: this is the operator's to repair, in git: of Berth's configuration")
		return
	}
	resp, err := s.opts.Transport.RoundTrip(out)
	if err != nil {
		if r.Context().Err() != nil {
			return
		}
		s.opts.Logger.WarnContext(r.Context(), "git host cannot be reached", "host", q.host, "error", err)
		fail(w, http.StatusBadGateway, q.host+" cannot be reached: try again later")
		return
	}
	defer resp.Body.Close()
	if sentence := unusable(resp, q, rule.Token != nil); sentence != "" {
		s.opts.Logger.InfoContext(r.Context(), "git host refused a request", "host", q.host, "status", resp.StatusCode, "session_id", caller.Session)
		fail(w, http.StatusForbidden, sentence)
		return
	}
	for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Length", "Cache-Control", "Expires", "Pragma"} {
		if value := resp.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(resp.StatusCode)
	_ = stream(w, resp.Body)
}

// ruleFor returns the rule of a request, or a sentence that says why there is none. Without a rule of its own, a host that is named is
// fetched from without a credential.
func (s *Service) ruleFor(q request, caller session.Caller) (Rule, string) {
	var known *Rule
	for i := range s.opts.Rules {
		r := &s.opts.Rules[i]
		if r.Host != q.host {
			continue
		}
		if r.fits(q.repository, caller.Owner) {
			if q.push() && !r.Push {
				return Rule{}, "this session may fetch from " + q.host + "/" + q.repository + " and not push to it: the operator allows that with push: true in git:"
			}
			return *r, ""
		}
		if known == nil {
			known = r
		}
	}
	switch {
	case known == nil:
		return Rule{}, "sessions reach no git host " + q.host + ": the operator names it under git: in Berth's configuration"
	case q.push():
		return Rule{}, "this session has no credential for " + q.host + "/" + q.repository + ", and can only fetch from it: the operator gives one in git:"
	}
	return Rule{Host: known.Host, BaseURL: known.BaseURL}, ""
}

// passedOn are the headers of git that hosts need.
var passedOn = []string{"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "Content-Encoding", "Git-Protocol", "User-Agent"}

// outgoing is the request to the host.
func (s *Service) outgoing(r *http.Request, q request, rule Rule) (*http.Request, error) {
	at := rule.BaseURL.JoinPath(q.path, q.suffix)
	if q.suffix == "info/refs" {
		at.RawQuery = url.Values{"service": {q.service}}.Encode()
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, at.String(), r.Body)
	if err != nil {
		return nil, err
	}
	if out.ContentLength = r.ContentLength; r.ContentLength == 0 {
		out.Body = http.NoBody
	}
	for _, name := range passedOn {
		if value := r.Header.Get(name); value != "" {
			out.Header.Set(name, value)
		}
	}
	if rule.Token == nil {
		return out, nil
	}
	token, err := rule.Token()
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, errors.New("it is empty")
	}
	out.SetBasicAuth(rule.Username, token.Reveal())
	return out, nil
}

// unusable returns why a host's answer is not passed on; empty: it is. Nothing of such an answer reaches the session: it may ask git for
// a password, or lead it elsewhere.
func unusable(resp *http.Response, q request, credential bool) string {
	repository := q.host + "/" + q.repository
	kind := "result"
	if q.suffix == "info/refs" {
		kind = "advertisement"
	}
	switch status := resp.StatusCode; {
	case status == http.StatusOK && mediaType(resp) == "application/x-"+q.service+"-"+kind:
		return ""
	case status == http.StatusOK:
		return q.host + " did not answer as a git host does; is the address of the repository right?"
	case status >= 300 && status <= 399:
		return repository + " has moved: use its new address, which a browser shows"
	case status == http.StatusNotFound && credential:
		return q.host + " has no repository " + q.repository + ", or the operator's credential may not see it"
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound:
		if credential {
			return q.host + " refuses the operator's credential for " + q.repository
		}
		return q.host + " has no public repository " + q.repository + ", and there is no credential for it: the operator gives one in git:"
	case status == http.StatusTooManyRequests:
		return q.host + " is asked too often: try again later"
	}
	return q.host + " answered with " + resp.Status
}

func mediaType(resp *http.Response) string {
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(kind)
}

// stream copies a body, and sends each part at once: git shows the host's progress.
func stream(w http.ResponseWriter, body io.Reader) error {
	control := http.NewResponseController(w)
	buffer := make([]byte, 64<<10)
	for {
		n, err := body.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
			if err := control.Flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			panic(http.ErrAbortHandler) // git must not take a part for the whole
		}
	}
}

// refuse answers with a sentence and records it.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, caller session.Caller, rule, what, sentence string) {
	if s.opts.Refused != nil {
		s.opts.Refused(context.WithoutCancel(r.Context()), caller, rule, what)
	}
	fail(w, http.StatusForbidden, sentence)
}

// fail answers with a sentence. Git prints a text of this type, line by line. It never is 401, at which git would ask for a password.
func fail(w http.ResponseWriter, status int, sentence string) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Connection", "close") // a body that is not read is not a next request
	w.WriteHeader(status)
	_, _ = io.WriteString(w, sentence+"\n") //nolint:gosec // it is plain text, and no browser asks here
}
