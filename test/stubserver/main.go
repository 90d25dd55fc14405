// Command stubserver imitates the part of an OpenCode server that Berth relies on, in one small static binary, so that
// tests of containers, processes and the proxy need neither a large image nor seconds of start-up.
//
// It knows the contract: HTTP Basic from the environment, a health document, a JSON path, an event stream, and HTML
// for every path that it does not know. It implements no other function of OpenCode. Of OpenCode 2.x it has the same, under /api/.
//
// Environment: PORT; OPENCODE_SERVER_USERNAME and OPENCODE_SERVER_PASSWORD, or OPENCODE_PASSWORD; STUB_MODE (see [modes]); STUB_DELAY;
// STUB_HEARTBEAT; STUB_STATE, the directory in which it keeps its sessions.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// modes lists what STUB_MODE may be, and how the server then misbehaves.
var modes = map[string]string{
	"":         "behaves",
	"exit":     "ends with code 3 at once",
	"mute":     "accepts connections and never answers",
	"slow":     "answers its health after STUB_DELAY",
	"closed":   "runs without ever listening",
	"stubborn": "ignores SIGTERM",
	"open":     "answers without a password",
}

const (
	exitMode   = 3 // exit code of STUB_MODE=exit
	exitBroken = 1
	exitUsage  = 2
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "cp":
		os.Exit(cp(os.Args[1:]))
	case "chmod":
		os.Exit(chmod(os.Args[1:]))
	}
	port := flag.String("port", cmp.Or(os.Getenv("PORT"), "4096"), "TCP port to listen on")
	host := flag.String("hostname", "0.0.0.0", "address to listen on")
	flag.Parse()
	os.Exit(run(net.JoinHostPort(*host, *port)))
}

func run(address string) int {
	mode := os.Getenv("STUB_MODE")
	if _, known := modes[mode]; !known {
		fmt.Fprintf(os.Stderr, "stubserver: STUB_MODE %q is not known\n", mode)
		return exitUsage
	}
	delay, err1 := duration("STUB_DELAY", 2*time.Second)
	heartbeat, err2 := duration("STUB_HEARTBEAT", time.Second)
	if err := errors.Join(err1, err2); err != nil {
		fmt.Fprintf(os.Stderr, "stubserver: %v\n", err)
		return exitUsage
	}
	if mode == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if mode != "stubborn" {
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
	}

	fmt.Fprintf(os.Stdout, "stubserver: start on %s\n", address)
	fmt.Fprintf(os.Stderr, "stubserver: mode %q\n", mode)
	switch mode {
	case "exit":
		fmt.Fprintln(os.Stderr, "stubserver: exits at once, as STUB_MODE says")
		return exitMode
	case "closed":
		<-ctx.Done()
		return 0
	case "mute":
		return mute(ctx, address)
	}

	s := &server{
		username:  cmp.Or(os.Getenv("OPENCODE_SERVER_USERNAME"), "opencode"),
		password:  cmp.Or(os.Getenv("OPENCODE_PASSWORD"), os.Getenv("OPENCODE_SERVER_PASSWORD")),
		state:     cmp.Or(os.Getenv("STUB_STATE"), "/state"),
		heartbeat: heartbeat,
		exit:      make(chan int, 1),
	}
	if _, err := os.Stat(loopFile(s.state)); err == nil {
		fmt.Fprintln(os.Stderr, "stubserver: exits at every start, as it was set to")
		return exitMode
	}
	if mode == "open" {
		s.password = ""
	}
	if mode == "slow" {
		s.healthyFrom = time.Now().Add(delay)
	}
	return serve(ctx, address, s)
}

func serve(ctx context.Context, address string, s *server) int {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintf(os.Stderr, "stubserver: %v\n", err)
		return exitBroken
	}
	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case <-ctx.Done():
		fmt.Fprintln(os.Stdout, "stubserver: stop")
		_ = server.Close()
		return 0
	case code := <-s.exit:
		fmt.Fprintf(os.Stdout, "stubserver: exit %d\n", code)
		return code
	case err := <-failed:
		fmt.Fprintf(os.Stderr, "stubserver: %v\n", err)
		return exitBroken
	}
}

// mute keeps every connection open without reading from it or writing to it.
func mute(ctx context.Context, address string) int {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintf(os.Stderr, "stubserver: %v\n", err)
		return exitBroken
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	var held []net.Conn
	for {
		conn, err := listener.Accept()
		if err != nil {
			break
		}
		held = append(held, conn)
	}
	for _, conn := range held {
		_ = conn.Close()
	}
	return 0
}

func duration(name string, otherwise time.Duration) (time.Duration, error) {
	text := strings.TrimSpace(os.Getenv(name))
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s %q is not a duration above 0", name, text)
	}
	return d, nil
}
