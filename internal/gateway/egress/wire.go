package egress

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
)

// headerConn is a connection of HTTP/1 of which every request header is looked over as it was sent, before a server parses it: what two
// programs could read in two ways is refused. After a header it lets exactly the body pass, so that the next request of the
// connection begins where the server sees it begin.
//
// A refused header is replaced by a request that says nothing; fault has the reason then.
type headerConn struct {
	net.Conn
	fault atomic.Pointer[string]
	last  bool // the request in progress is the last one; used by its handler only

	held  []byte // read, not yet delivered
	ready int    // bytes of held that may be delivered
	body  int64  // bytes of the body that are still to pass; unbounded: all that follows
}

// unbounded is a body of unknown length. It is the last one of its connection; see [forwarder.serve].
const unbounded = -1

// replacement is what the server reads instead of a refused header.
const replacement = "GET / HTTP/1.1\r\nHost: refused.invalid\r\nConnection: close\r\n\r\n"

// Read implements [net.Conn].
func (c *headerConn) Read(p []byte) (int, error) {
	for c.ready == 0 {
		if c.body != 0 {
			return c.readBody(p)
		}
		if end := headerEnd(c.held); end > 0 {
			c.takeHeader(end)
			break
		}
		if len(c.held) > maxHeader {
			c.ready, c.body = len(c.held), unbounded // the server answers that it is too large
			break
		}
		chunk := make([]byte, 4096)
		n, err := c.Conn.Read(chunk)
		c.held = append(c.held, chunk[:n]...)
		if n == 0 && err != nil {
			return 0, err
		}
	}
	n := copy(p, c.held[:c.ready])
	c.held, c.ready = c.held[n:], c.ready-n
	if len(c.held) == 0 {
		c.held = nil
	}
	return n, nil
}

// CloseWrite lets the server end its last response before it closes the connection, so that the client reads all of it.
func (c *headerConn) CloseWrite() error {
	closeWrite(c.Conn)
	return nil
}

func (c *headerConn) readBody(p []byte) (n int, err error) {
	if c.body > 0 && int64(len(p)) > c.body {
		p = p[:c.body]
	}
	if len(c.held) > 0 {
		n = copy(p, c.held)
		c.held = c.held[n:]
	} else {
		n, err = c.Conn.Read(p)
	}
	if c.body > 0 {
		c.body -= int64(n)
	}
	return n, err
}

// takeHeader makes a header ready, or its replacement.
func (c *headerConn) takeHeader(end int) {
	body, fault := inspect(c.held[:end])
	if fault != "" {
		c.fault.Store(&fault)
		c.held = []byte(replacement)
		c.ready, c.body = len(c.held), unbounded
		return
	}
	c.ready, c.body = end, body
}

// headerEnd is the length of a header with its empty line; 0 if that has not come. A line may end without a carriage return here,
// which inspect refuses.
func headerEnd(text []byte) int {
	end := 0
	for _, empty := range []string{"\n\r\n", "\n\n"} {
		if i := bytes.Index(text, []byte(empty)); i >= 0 && (end == 0 || i+len(empty) < end) {
			end = i + len(empty)
		}
	}
	return end
}

// inspect returns the length of the body after a header, or what is wrong with it.
func inspect(header []byte) (body int64, fault string) {
	text, found := strings.CutSuffix(string(header), "\r\n\r\n")
	if !found || strings.Count(text, "\r\n") != strings.Count(text, "\n") || strings.Count(text, "\r\n") != strings.Count(text, "\r") {
		return 0, "its lines do not all end with CR LF"
	}
	if strings.ContainsRune(text, 0) {
		return 0, "its header has a NUL"
	}
	lines := strings.Split(text, "\r\n")
	var hosts, lengths, encodings []string
	upgrade := false
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return 0, "its header has a line that is not name: value, or is folded"
		}
		value = strings.Trim(value, " \t")
		switch strings.ToLower(name) {
		case "host":
			hosts = append(hosts, value)
		case "content-length":
			lengths = append(lengths, value)
		case "transfer-encoding":
			encodings = append(encodings, value)
		case "upgrade":
			upgrade = true
		}
	}
	switch {
	case len(hosts) != 1:
		return 0, "it must have one Host"
	case len(lengths) > 1 || len(encodings) > 1 || len(lengths)+len(encodings) > 1:
		return 0, "it says in more than one way how long its body is"
	case len(encodings) == 1 && !strings.EqualFold(encodings[0], "chunked"):
		return 0, "its Transfer-Encoding is not chunked"
	case !sameHost(lines[0], hosts[0]):
		return 0, "its Host is not that of its URL"
	case len(encodings) == 1 || upgrade:
		return unbounded, ""
	case len(lengths) == 1:
		n, err := strconv.ParseUint(lengths[0], 10, 62)
		if err != nil || strings.HasPrefix(lengths[0], "+") {
			return 0, "its Content-Length is not a number"
		}
		return int64(n), ""
	default:
		return 0, ""
	}
}

// sameHost reports whether the URL of a request line, if it is a whole one, has the host of the Host header.
func sameHost(requestLine, host string) bool {
	_, rest, _ := strings.Cut(requestLine, " ")
	target, _, _ := strings.Cut(rest, " ")
	if strings.HasPrefix(target, "/") || target == "*" {
		return true
	}
	scheme, rest, found := strings.Cut(target, "://")
	if !found || !strings.EqualFold(scheme, "http") {
		return false // also the form of CONNECT
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	return strings.EqualFold(strings.TrimSuffix(authority, ":80"), strings.TrimSuffix(host, ":80"))
}
