package chromiumtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
)

// The interfaces of a browser's network. Without one beside the loopback interface Chromium would tell its pages that they are
// offline; the address is one for documentation.
const interfaces = `ip link set lo up && ip link add outer type veth peer name inner && ip addr add 192.0.2.1/24 dev outer &&
ip link set outer up && ip link set inner up`

// isolate makes a network in which these addresses lead to the same addresses of this machine, and nothing else does. It returns the
// command that runs another one in that network.
//
// Chromium gives up every request and stream when an interface of its network changes (ERR_NETWORK_CHANGED), and each container
// that another test makes changes this machine's.
func isolate(t testing.TB, addresses []string) []string {
	t.Helper()
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		t.Fatal(err)
	}
	var space *os.File
	var listeners []net.Listener
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function
		var err error
		space, listeners, err = enterNetwork(addresses)
		failed <- err
	}()
	if err := <-failed; err != nil {
		t.Fatalf("make a network for Chromium, which takes root: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() { relay(ctx, l) })
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = space.Close()
	})
	return []string{nsenter, fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), space.Fd()), "--"}
}

// enterNetwork moves the calling thread into a new network, and listens there on the addresses.
func enterNetwork(addresses []string) (space *os.File, listeners []net.Listener, err error) {
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		return nil, nil, os.NewSyscallError("unshare", err)
	}
	if out, err := exec.Command("sh", "-c", interfaces).CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("set its interfaces: %w: %s", err, out)
	}
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, nil, err
		}
		listeners = append(listeners, l)
	}
	space, err = os.Open("/proc/thread-self/ns/net")
	return space, listeners, err
}

// relay connects the listener's clients to the same address of this process's network, until the context ends.
func relay(ctx context.Context, l net.Listener) {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		running.Go(func() {
			defer client.Close()
			server, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
			if err != nil {
				return
			}
			defer server.Close()
			defer context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })()
			var both sync.WaitGroup
			both.Go(func() { pipe(server, client) })
			pipe(client, server)
			both.Wait()
		})
	}
}

// pipe copies until the source ends, and then ends that direction. A connection that was reset ends as a whole.
func pipe(to, from net.Conn) {
	_, err := io.Copy(to, from)
	closer, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || errors.Is(closer.CloseWrite(), net.ErrClosed) {
		_ = to.Close()
		_ = from.Close()
	}
}
