package server

import "golang.org/x/sys/unix"

// Descriptors divides the file descriptors of the process, so that neither clients nor sessions take those that the
// store, the engine's connections and the log need.
type Descriptors struct {
	Clients   int // connections from clients
	Requests  int // those of them that sessions' requests may hold
	Events    int // those that streams of events may hold for sessions' tokens; the rest is for the API
	Upstreams int // connections to sessions' servers
}

// minClients is how many connections there may be however few descriptors there are.
const minClients = 16

// shareDescriptors divides most descriptors, at least 64 of which stay Berth's own.
func shareDescriptors(most uint64) Descriptors {
	n := int(min(most, 1<<20)) - 64
	clients := max(n/2, minClients)
	return Descriptors{Clients: clients, Requests: clients - clients/4, Events: clients / 8, Upstreams: max(n/3, 8)}
}

// OwnDescriptors divides those that this process may have.
func OwnDescriptors() Descriptors {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = 1024
	}
	return shareDescriptors(limit.Cur)
}
