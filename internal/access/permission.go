package access

import "berth/internal/session"

// Verb is a kind of request, as far as permissions go.
type Verb uint8

// Every verb.
const (
	Status         Verb = iota // Berth's status, without details
	Details                    // the parts of answers that are not public
	List                       // sessions
	Create                     // a session
	ChooseImage                // of a session: another one than its profile's
	Read                       // one session: its record, events, health and token's dates
	Write                      // start, stop, restart, upgrade, cancel
	Delete                     // a session
	Logs                       // of a session's server
	Instances                  // the processes that serve the same sessions
	Metrics                    // the measurements
	Rotate                     // a session's token
	SignIns                    // to a session: make links for them, list and end them
	Pair                       // a device with a session: make a code for it
	Open                       // a session's server, through the proxy
	PlatformTokens             // create, list and revoke them
	verbs                      // how many there are
)

// Reach is on which sessions a principal may use a verb.
type Reach uint8

// Every reach, in ascending order. A verb that is not about one session needs Any, except that with Owned sessions are created
// for, and listed of, the owner alone.
const (
	None  Reach = iota // on no session
	Own                // on the session of its token
	Owned              // on the sessions of its owner
	Any                // on all sessions
)

// permissions say who may do what. What a platform token may do is restricted further by its scopes, and by the owner whom it
// is bound to. Sessions are opened with what belongs to one session alone: neither the operator nor a platform token opens
// them. The previous token cannot rotate the present one. A browser pairs no device: the pages that an agent makes have its cookie.
var permissions = [verbs][kinds]Reach{
	Status: {
		Anonymous: Any, Operator: Any, Platform: Any, Owner: Any, SessionToken: Any, PreviousToken: Any, SignedIn: Any, Device: Any,
	},
	Details:        {Operator: Any},
	List:           {Operator: Any, Platform: Any, Owner: Owned},
	Create:         {Operator: Any, Platform: Any, Owner: Owned},
	ChooseImage:    {Operator: Any, Platform: Any},
	Read:           {Operator: Any, Platform: Any, Owner: Owned, SessionToken: Own, PreviousToken: Own},
	Write:          {Operator: Any, Platform: Any, Owner: Owned},
	Delete:         {Operator: Any, Platform: Any, Owner: Owned},
	Logs:           {Operator: Any, Platform: Any, Owner: Owned},
	Instances:      {Operator: Any},
	Metrics:        {Operator: Any, Platform: Any},
	Rotate:         {Operator: Any, Platform: Any, Owner: Owned, SessionToken: Own},
	SignIns:        {Operator: Any, Platform: Any, Owner: Owned, SessionToken: Own},
	Pair:           {Operator: Any, Platform: Any, Owner: Owned, SessionToken: Own, Device: Own},
	Open:           {SessionToken: Own, PreviousToken: Own, SignedIn: Own, Device: Own},
	PlatformTokens: {Operator: Any},
}

// scopes are what a platform token needs for a verb. A verb that is not here needs none.
var scopes = [verbs]Scopes{
	List: ScopeRead, Create: ScopeCreate, Read: ScopeRead, Write: ScopeWrite, Delete: ScopeDelete, Logs: ScopeRead,
	Metrics: ScopeMetrics, Rotate: ScopeOpen, SignIns: ScopeOpen, Pair: ScopeOpen,
}

// Reaches says on which sessions principals of a kind may use a verb at most.
func Reaches(v Verb, k Kind) Reach { return permissions[v][k] }

// ScopeFor returns what a platform token needs for a verb; empty: nothing.
func ScopeFor(v Verb) Scopes { return scopes[v] }

// Reach says on which sessions the principal may use a verb.
func (p Principal) Reach(v Verb) Reach {
	reach := Reaches(v, p.Kind)
	if p.Kind == Platform {
		if !p.Scopes.Has(scopes[v]) {
			return None
		}
		if p.Owner != "" { // everything is as for that owner
			reach = min(reach, Reaches(v, Owner))
		}
	}
	if reach == Owned && p.Owner == "" {
		return None
	}
	return reach
}

// isAboutMany reports whether a verb is about the sessions of an owner, and not about one session.
func (v Verb) isAboutMany() bool { return v == List || v == Create }

// May reports whether a principal may use a verb on a session of this owner. The empty ID is no session, the empty owner that
// of a session that nobody owns. The owner does not matter for a principal whose reach is not [Owned].
func May(p Principal, v Verb, id session.ID, owner string) bool {
	switch p.Reach(v) {
	case Any:
		return true
	case Owned:
		return v.isAboutMany() || id != "" && owner != "" && owner == p.Owner
	case Own:
		return id != "" && id == p.Session
	default:
		return false
	}
}

// OwnerFor returns the owner that a list is filtered by, or that a session is created for, when the request names this one;
// empty: none. It is false if the principal may not name that owner.
func (p Principal) OwnerFor(named string) (owner string, ok bool) {
	switch {
	case p.Kind == Operator, p.Kind == Platform && p.Owner == "":
		return named, true
	case p.Owner == "":
		return "", false
	case named == "", named == p.Owner:
		return p.Owner, true
	default:
		return "", false
	}
}
