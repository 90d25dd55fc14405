package policy

import "strings"

// On the path route a session's server shares its origin with Berth and with every other session, and a proxy of the
// operator may stand in front of us. A server's response may therefore affect only itself and paths under the
// session's prefix. The tables below hold the response fields that reach further. Headers of final and
// interim responses go through them; trailers go through [FilterTrailer] instead.
//
// Fields that look similar and are kept, because they concern the one response or the document in it: Cache-Control,
// Link, Content-Security-Policy, Permissions-Policy, Cross-Origin-*, Access-Control-* but for the permission to send
// credentials, X-Frame-Options, Server-Timing, SourceMap. [Place.Protect] adds to some of them.
var deniedFields = set(
	// State that a browser keeps for the whole origin, or for its host.
	"Accept-Ch", "Accept-Ch-Lifetime", "Critical-Ch", // client hints that later requests to any path carry
	"Activate-Storage-Access",
	"Idp-Signin-Status", "Origin-Trial", "Shared-Storage-Write",
	"X-Permitted-Cross-Domain-Policies", // of Flash and PDF readers, for the host
	"Alt-Svc", "Alternate-Protocol",     // other hosts and ports that serve the origin
	"Clear-Site-Data",
	"Expect-Ct", "Public-Key-Pins", "Public-Key-Pins-Report-Only", "Strict-Transport-Security",
	"Nel", "Report-To", "Reporting-Endpoints", // where to report what happens on the origin
	"Observe-Browsing-Topics",
	"Origin-Agent-Cluster",   // the first response decides for the origin
	"Service-Worker-Allowed", // a worker for paths above its own
	"Set-Cookie2",
	"Set-Login",
	"Use-As-Dictionary", // its pattern may match any path of the origin

	// Navigation that the rules for Location do not cover.
	"Refresh",

	// Lets pages of other origins send the browser's credentials and read the answer.
	"Access-Control-Allow-Credentials",

	// Authentication: a client's credential is for Berth, and the server's is Berth's own affair.
	"Authentication-Control", "Authentication-Info", "Optional-Www-Authenticate", "Www-Authenticate",

	// Instructions to a proxy or cache in front of Berth.
	"Cache-Tag", "Edge-Cache-Tag", "Edge-Control", "X-Cache-Tags", "X-Cache-Tag", "Xkey",
	"X-Original-Url", "X-Rewrite-Url",
	"X-Send-File",

	// Fields that Berth sets itself.
	RequestIDHeader,
)

// deniedPrefixes are the prefixes of families of fields, in canonical form.
var deniedPrefixes = []string{
	"Akamai-", "Fly-", "Surrogate-", // caches, and replays on another machine
	"X-Middleware-",                           // Next.js: rewrites, and headers of the request
	"Attribution-Reporting-",                  // browser state for the site
	"Proxy-",                                  // hop by hop, and for proxies
	"Sec-Session-",                            // a session that the browser renews for the site
	"Secure-Session-",                         // the same under its new name
	"X-Accel-",                                // nginx: internal redirects, caching, rate
	"X-Berth-",                                // Berth
	"X-Envoy-",                                // Envoy: health of the upstream, retries
	"X-Lighttpd-", "X-Litespeed-", "X-Lsadc-", // files and internal redirects
	"X-Reproxy-", // Perlbal: fetch another URL instead
	"X-Sendfile", // Apache, lighttpd, Cherokee: files of the host
}

// deniedSuffix ends the names of fields that control one provider's caches, such as Cloudflare-CDN-Cache-Control.
const deniedSuffix = "Cdn-Cache-Control"

// trailerFields are the fields allowed in a trailer section, of requests and of responses: checksums and results, which only
// recipients that expect them there use. Any other field could be taken for the header of that name by a
// recipient that merges the two.
var trailerFields = set(
	"Content-Digest", "Repr-Digest", "Digest",
	"Grpc-Message", "Grpc-Status", "Grpc-Status-Details-Bin",
	"Server-Timing",
)

func isDenied(name string) bool {
	if deniedFields[name] {
		return true
	}
	for _, prefix := range deniedPrefixes {
		if name[0] == prefix[0] && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.HasSuffix(name, deniedSuffix)
}
