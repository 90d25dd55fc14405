package connection

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

func (r *run) resolve(ctx context.Context) Step {
	if _, err := netip.ParseAddr(r.host); err == nil {
		r.addresses = []string{r.host}
		return pass("%s is an address", r.host)
	}
	begin := time.Now()
	addresses, err := r.LookupHost(ctx, r.host)
	unknown, _ := errors.AsType[*net.DNSError](err)
	switch {
	case unknown != nil && unknown.IsNotFound:
		return fail(NameUnknown, "correct DOCKER_HOST, or make "+r.host+" known (DNS, /etc/hosts; in a container: extra_hosts: [\""+r.host+":host-gateway\"])",
			"no address is known for %s", r.host)
	case err != nil:
		return fail(ResolverFailed, "see whether this machine's name server answers (/etc/resolv.conf), or give DOCKER_HOST an address",
			"the name %s could not be looked up: %v", r.host, err)
	}
	r.report.Latency.ResolveMS = milliseconds(time.Since(begin))
	r.addresses = addresses
	return pass("%s is %s", r.host, strings.Join(addresses, ", "))
}

// connect tries the addresses in the order of the resolver, as every client does, and keeps the first that answers.
func (r *run) connect(ctx context.Context) Step {
	var first error
	for i, address := range r.addresses {
		// Each address gets its share of the time that is left, so that a silent one does not hide the next.
		deadline, _ := ctx.Deadline()
		share, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(r.addresses)-i))
		begin := time.Now()
		conn, err := r.dial(share, net.JoinHostPort(address, r.port))
		cancel()
		if err == nil {
			conn.Close()
			r.address = net.JoinHostPort(address, r.port)
			r.report.Address = r.address
			r.report.Latency.ConnectMS = milliseconds(time.Since(begin))
			return pass("connected to %s", r.address)
		}
		if first == nil {
			first = err
		}
	}
	tried := strings.Join(r.addresses, ", ")
	code := connectionFault(first)
	switch code {
	case ConnectionRefused:
		return fail(code, "start what should listen there: berth guard, or dockerd with TLS (systemctl status docker); see that DOCKER_HOST has the right host "+
			"and port, and that it listens on the address that you connect to, not on 127.0.0.1 only",
			"nothing listens on port %s of %s", r.port, tried)
	case NoRoute:
		return fail(code, "correct DOCKER_HOST or this machine's routes (ip route get "+r.host+")", "there is no route from here to %s", tried)
	case ConnectionTimeout:
		return fail(code, "let the firewalls between here and "+r.host+" pass TCP port "+r.port+" from this machine; see that "+r.host+" is up",
			"%s did not answer on port %s within %s", tried, r.port, r.Timeout)
	default:
		return fail(code, "see that DOCKER_HOST names a host and port that can be connected to", "%v", first)
	}
}

func connectionFault(err error) Code {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return ConnectionRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return NoRoute
	case isTimeout(err):
		return ConnectionTimeout
	}
	return ConnectionFailed
}

func (r *run) dial(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	// What is read and written on the connection is bounded by the step that it was made for.
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

func isTimeout(err error) bool {
	timed, ok := errors.AsType[net.Error](err)
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || ok && timed.Timeout()
}
