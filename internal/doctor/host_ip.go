package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"berth/internal/hostip"
)

// hostIP checks that the engine's host can be determined, because sessions are reached there.
func hostIP(ctx context.Context, o *Options) []Finding {
	host, _ := o.engineHost()
	if host == "" {
		return []Finding{pass("local", "the engine is on this machine: sessions are reached at 127.0.0.1")}
	}
	addrs, err := o.engineAddrs(ctx)
	if err != nil || len(addrs) == 0 {
		remedy := "set DOCKER_HOST to a name or address that is known here, or make " + host + " known (DNS, /etc/hosts)"
		if host == "host.docker.internal" {
			remedy = `in a container: extra_hosts: ["host.docker.internal:host-gateway"]; elsewhere set DOCKER_HOST to the engine's address`
		}
		return []Finding{fail("host-unknown", remedy, "no address is known for the engine's host %s", host)}
	}
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	where := "on another machine"
	if o.engineIsHere(ctx) {
		where = "on this machine"
	}
	seen := fmt.Sprintf("the engine's host %s is %s, %s", host, strings.Join(texts, ", "), where)
	publish := o.Config.Session.PublishIP
	if where == "on another machine" && (publish == "127.0.0.1" || publish == "::1" || o.Config.Docker.ReachedAt != "") {
		return o.detectHost(ctx, seen)
	}
	return []Finding{pass("host-known", "%s", seen)}
}

// detectHost detects the Docker host as Berth does for a wildcard or loopback address: by the engine's port, which is on the
// same host as the sessions'.
func (o *Options) detectHost(ctx context.Context, seen string) []Finding {
	_, text := o.engineHost()
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return []Finding{fail("host-not-detected", "set DOCKER_HOST to tcp://host:port", "%s; its port %q is none", seen, text)}
	}
	found, err := o.DetectHost(ctx, uint16(port), hostip.IsEngine)
	if err != nil {
		return []Finding{fail("host-not-detected", `set HOST_IP to the Docker host's address as it is reached from here; "berth hostip" shows what was tried`,
			"%s; Could not detect Docker host IP", seen)}
	}
	return []Finding{pass("host-detected", "%s; published ports are reached at %s (%s)", seen, found.Addr, found.Source)}
}
