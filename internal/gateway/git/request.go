package git

import (
	"fmt"
	"net/http"
	"strings"

	"berth/internal/session"
)

// request is a request of git's smart protocol.
type request struct {
	host       string // as in a [Rule]
	path       string // of the repository, as asked for: "team/app.git"
	repository string // the same without ".git"
	suffix     string // "info/refs", "git-upload-pack" or "git-receive-pack"
	service    string // "git-upload-pack" or "git-receive-pack"
}

// push reports whether it is a part of a push.
func (r request) push() bool { return r.service == receivePack }

// Prefix is the path that leads to the hosts; the name of one follows.
const Prefix = "/git/"

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
)

// parse reads a request. What is not one of git's four, or is written in a way that two programs could read differently, is an error.
func parse(r *http.Request) (request, error) {
	form := fmt.Errorf("this is no request of git's smart protocol for a repository: %s{host}/{path}", Prefix)
	rest, ok := strings.CutPrefix(r.URL.Path, Prefix)
	if !ok || r.URL.EscapedPath() != r.URL.Path || r.URL.ForceQuery {
		return request{}, form
	}
	host, rest, _ := strings.Cut(rest, "/")
	var q request
	for _, suffix := range []string{"info/refs", uploadPack, receivePack} {
		if p, found := strings.CutSuffix(rest, "/"+suffix); found {
			q = request{host: host, path: p, suffix: suffix, service: suffix}
		}
	}
	at, err := session.ParseRepository("https://" + host + "/" + q.path)
	if q.suffix == "" || err != nil || at.Host != host || at.Path != q.path {
		return request{}, form
	}
	q.repository = strings.TrimSuffix(q.path, ".git")
	if q.suffix != "info/refs" {
		if r.Method != http.MethodPost || r.URL.RawQuery != "" || r.Header.Get("Content-Type") != "application/x-"+q.service+"-request" {
			return request{}, form
		}
		return q, nil
	}
	service, found := strings.CutPrefix(r.URL.RawQuery, "service=")
	if r.Method != http.MethodGet || !found || service != uploadPack && service != receivePack {
		return request{}, fmt.Errorf("%s has git's smart protocol only: use a git of this decade", Prefix)
	}
	q.service = service
	return q, nil
}
