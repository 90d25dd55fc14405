package main

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// socket is a listening socket as a supervisor passes it, with the name that it gives it.
func socket(t *testing.T, name string) (file *os.File, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	passed, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	fd, err := syscall.Dup(int(passed.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), name), l.Addr().String()
}

func TestSupervisorsSocketsAreToldApart(t *testing.T) {
	t.Parallel()
	first, address := socket(t, "berth.socket")
	second, plain := socket(t, "redirect")
	own, redirect, err := listenersOf([]*os.File{second, first})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	defer redirect.Close()
	if own.Addr().String() != address || redirect.Addr().String() != plain {
		t.Errorf("got %s and %s, want %s and %s", own.Addr(), redirect.Addr(), address, plain)
	}
	if own, redirect, err := listenersOf(nil); own != nil || redirect != nil || err != nil {
		t.Errorf("no sockets: got %v, %v, %v", own, redirect, err)
	}
	third, _ := socket(t, "berth.socket")
	fourth, _ := socket(t, "another")
	if _, _, err := listenersOf([]*os.File{third, fourth}); err == nil || !strings.Contains(err.Error(), "2 sockets") {
		t.Errorf("two of a kind: got %v", err)
	}
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := listenersOf([]*os.File{file}); err == nil || !strings.Contains(err.Error(), "ListenStream") {
		t.Errorf("no socket: got %v", err)
	}
}
