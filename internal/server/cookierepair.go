package server

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

const (
	// maxExpiring bounds the fields that expire cookies, in bytes. Chromium reads 256 KiB of a response's header.
	maxExpiring = 160 << 10
	// repairCookie says that the previous response has expired what it could.
	repairCookie = "__Host-berth_repair"
)

// repairCookies has a browser remove the cookies of a request. A page next door may have set them, for a domain and a path that the
// request does not tell, so that each is expired for all that are possible. Berth's own cookies stay: the browser remains signed in.
// If there are too many cookies even then, the browser removes all of the site's, and its user has to sign in again.
func repairCookies(h http.Header, r *http.Request) {
	names := cookieNames(r.Header["Cookie"])
	if slices.Contains(names, repairCookie) {
		h.Set("Clear-Site-Data", `"cookies"`)
	}
	h["Set-Cookie"] = append(expiring(names, hostname(r.Host), r.URL.EscapedPath()), repairCookie+"=1; Path=/; Max-Age=10; Secure; HttpOnly; SameSite=Lax")
}

// cookieNames returns the names of the cookies, each once. A cookie without a name is sent as its value, which then counts as
// its name; the empty name, which is always among them, expires it.
func cookieNames(headers []string) []string {
	names := []string{""}
	seen := map[string]bool{"": true}
	for _, header := range headers {
		for pair := range strings.SplitSeq(header, ";") {
			name, _, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if name = strings.TrimSpace(name); !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// expiring returns the Set-Cookie fields that expire cookies of these names for a host and a path, the likeliest first: as many as
// [maxExpiring] allows. Cookies of a partition stay: browsers store no more than 10 KiB of them.
func expiring(names []string, host, path string) (fields []string) {
	size, domains := 0, cookieDomains(host)
	for _, p := range cookiePaths(path) {
		for _, name := range names {
			if strings.HasPrefix(name, "__Host-berth") {
				continue
			}
			for _, domain := range domains {
				field := name + "=; Max-Age=0; Path=" + p + domain
				if size += len("Set-Cookie: \r\n") + len(field); size > maxExpiring {
					return fields
				}
				fields = append(fields, field)
			}
		}
	}
	return fields
}

// cookieDomains returns the Domain attributes of the cookies that a browser sends to a host: those of its parents with at least two
// labels, its own, and none.
func cookieDomains(host string) []string {
	domains := []string{""}
	if _, err := netip.ParseAddr(host); err == nil {
		return domains
	}
	for strings.Contains(host, ".") {
		domains = append(domains, "; Domain="+host)
		_, host, _ = strings.Cut(host, ".")
	}
	slices.Reverse(domains)
	return domains
}

// cookiePaths returns the Path attributes of the cookies that a browser sends with a request for a path.
func cookiePaths(path string) []string {
	paths := []string{"/"}
	for i := 1; i < len(path) && path[i] != ';'; i++ { // an attribute ends there
		if path[i] == '/' {
			paths = append(paths, path[:i], path[:i+1])
		}
	}
	if last := paths[len(paths)-1]; !strings.Contains(path, ";") && path != last && path != "" {
		paths = append(paths, path)
	}
	return paths
}
