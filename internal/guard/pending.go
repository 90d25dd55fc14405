package guard

import (
	"container/list"

	"golang.org/x/sys/unix"
)

// pending are the connections without a first request, the oldest first. Any client can open them without a
// certificate; beyond a limit the oldest is closed for the next one, so that descriptors remain for clients with a certificate.
type pending struct {
	most  int
	order list.List // of *connection
}

// add adds a connection and returns the one to close for it; nil: the limit is not reached.
func (n *pending) add(one *connection) (oldest *connection) {
	one.waiting = n.order.PushBack(one)
	if n.order.Len() <= n.most {
		return nil
	}
	oldest, _ = n.order.Front().Value.(*connection)
	n.remove(oldest)
	return oldest
}

// remove removes a connection that has had a request, or is closed.
func (n *pending) remove(one *connection) {
	if one.waiting != nil {
		n.order.Remove(one.waiting)
		one.waiting = nil
	}
}

// defaultPending is a quarter of the descriptors of this process: a client takes two, one of them to the engine.
func defaultPending() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = 1024
	}
	return max(int(min(limit.Cur, 1<<18))/4, 16)
}
