package server

import "golang.org/x/sys/unix"

// Descriptors divides the file descriptors of the process, so that clients and sessions cannot use up those of the store, the
// engine's connections and the log.
type Descriptors struct {
	Clients   int // connections from clients
	Requests  int // of Clients, those that sessions' requests may hold
	Events    int // of Clients, those that event streams with session tokens may hold; the rest is for the API
	Upstreams int // connections to sessions' servers
	Redirects int // connections that only get a redirect to https
}

// minClients is the least number of client connections, however few descriptors there are.
const minClients = 16

// shareDescriptors divides most descriptors; at least 64 are reserved for Berth, of which a quarter may be clients that only get a
// redirect.
func shareDescriptors(most uint64) Descriptors {
	n := int(min(most, 1<<20)) - 64
	clients := max(n/2, minClients)
	return Descriptors{Clients: clients, Requests: clients - clients/4, Events: clients / 8, Upstreams: max(n/3, 8), Redirects: minClients}
}

// OwnDescriptors divides this process's limit of descriptors.
func OwnDescriptors() Descriptors {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = 1024
	}
	return shareDescriptors(limit.Cur)
}
