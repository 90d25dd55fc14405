package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// rawClient is a client on one TCP connection that sends a request's body while it reads the answer.
type rawClient struct {
	conn net.Conn
	in   *bufio.Reader
}

func newRawClient(t *testing.T, w *fixture) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &rawClient{conn, bufio.NewReader(conn)}
}

// post sends a request whose body has size bytes. It stops when the connection is closed.
func (c *rawClient) post(size int, chunked bool) {
	const piece = 1 << 10
	length := "Content-Length: " + strconv.Itoa(size)
	before, after, end := "", "", ""
	if chunked {
		length, before, after, end = "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n", piece), "\r\n", "0\r\n\r\n"
	}
	_, err := io.WriteString(c.conn, "POST /s/ses-one/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "+testToken.Reveal()+"\r\n"+length+"\r\n\r\n")
	for sent := 0; sent < size && err == nil; sent += piece {
		_, err = io.WriteString(c.conn, before+strings.Repeat("x", piece)+after)
	}
	_, _ = io.WriteString(c.conn, end)
}

// answer returns the status of the next response, whether it closes the connection, and the length of its body.
func (c *rawClient) answer(t *testing.T) (status int, closes bool, length int64) {
	t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatalf("read the response: %v", err)
	}
	defer res.Body.Close()
	length, err = io.Copy(io.Discard, res.Body)
	if err != nil {
		t.Errorf("read the response's body: %v after %d bytes", err, length)
	}
	return res.StatusCode, res.Close, length
}

// eachBody runs the test with bodies whose rest net/http discards when a response starts, and with larger ones.
func eachBody(t *testing.T, test func(t *testing.T, size int, chunked bool)) {
	t.Helper()
	for _, size := range []int{200 << 10, 4 << 20} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, chunked %v", size, chunked), func(t *testing.T) {
				t.Parallel()
				test(t, size, chunked)
			})
		}
	}
}

const earlySize = 1 << 20

// answerEarly sends its response before it reads the request's body.
func answerEarly(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex()
	w.Header().Set("Content-Length", strconv.Itoa(earlySize))
	w.WriteHeader(http.StatusRequestEntityTooLarge)
	for range earlySize / 1024 {
		_, _ = io.WriteString(w, strings.Repeat("a", 1024))
	}
	_ = control.Flush()
	_, _ = io.Copy(io.Discard, r.Body)
}

// By default net/http reads the rest of a body before it sends a response, and then closes the body. The transport, which is
// sending that body, then fails to read it and closes the connection to the server, which truncates the response.
func TestEarlyResponseArrivesComplete(t *testing.T) {
	t.Parallel()
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunked %v", chunked), func(t *testing.T) {
			t.Parallel()
			client := newRawClient(t, setup(t, answerEarly))
			go client.post(200<<10, chunked) // net/http reads a body of this size to its end before it closes the connection
			if status, _, length := client.answer(t); status != http.StatusRequestEntityTooLarge || length != earlySize {
				t.Errorf("got %d with %d bytes, want 413 with %d", status, length, earlySize)
			}
		})
	}
}

func TestEarlyResponseClosesTheConnection(t *testing.T) {
	t.Parallel()
	client := newRawClient(t, setup(t, answerEarly))
	_, _ = io.WriteString(client.conn, "POST /s/ses-one/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "+testToken.Reveal()+
		"\r\nContent-Length: 1000\r\n\r\nthe beginning")
	if status, closes, _ := client.answer(t); status != http.StatusRequestEntityTooLarge || !closes {
		t.Errorf("got %d, connection closed %v; want 413 and closed: the rest of the body must not be read as a request", status, closes)
	}
}

// By default the bytes that net/http reads of a body when a response starts do not reach the server.
func TestBodyArrivesCompleteDuringResponse(t *testing.T) {
	t.Parallel()
	eachBody(t, func(t *testing.T, size int, chunked bool) {
		w := setup(t, func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			_ = control.EnableFullDuplex()
			_ = control.Flush()
			_, _ = io.Copy(w, r.Body)
		})
		client := newRawClient(t, w)
		go client.post(size, chunked)
		if status, _, length := client.answer(t); status != http.StatusOK || length != int64(size) {
			t.Errorf("got %d with %d bytes, want 200 and the %d bytes of the body back", status, length, size)
		}
	})
}

func TestConnectionIsKeptWhenResponseFollowsBody(t *testing.T) {
	t.Parallel()
	eachBody(t, func(t *testing.T, size int, chunked bool) {
		w := setup(t, func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, strings.Repeat("a", int(n/1024)))
		})
		client := newRawClient(t, w)
		for range 3 {
			go client.post(size, chunked)
			if status, closes, length := client.answer(t); status != http.StatusOK || closes || length != int64(size/1024) {
				t.Errorf("got %d with %d bytes, closed %v; want 200 with %d and the connection kept", status, length, closes, size/1024)
			}
		}
	})
}
