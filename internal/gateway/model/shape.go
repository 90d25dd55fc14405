package model

import (
	"fmt"
	"slices"
	"strings"
)

// Names of rules, for the audit trail and metrics.
const (
	RulePath       = "path"        // the method and path are none of the kind's
	RuleBody       = "body"        // the body is not what the kind's API takes, or can be read in two ways
	RuleModel      = "model"       // the model is not allowed
	RuleMember     = "member"      // a member that is not known, and may do anything
	RuleState      = "state"       // the provider would keep something, or use what it has kept
	RuleServerTool = "server-tool" // the provider would act itself
	RuleRemoteURL  = "remote-url"  // the provider would fetch something
	RulePrice      = "price"       // the call would cost more than its model's price
)

// refusal is why a request is not sent.
type refusal struct {
	rule string
	at   string // place in the body: "messages[3].content"; may be empty
	text string // sentence without the place
}

func (r *refusal) Error() string {
	if r.at == "" {
		return r.text
	}
	return strings.TrimPrefix(r.at, ".") + ": " + r.text
}

func refuse(rule, text string, args ...any) *refusal {
	return &refusal{rule: rule, text: fmt.Sprintf(text, args...)}
}

// within adds the outer part of the place.
func (r *refusal) within(at string) *refusal {
	if r != nil {
		r.at = at + r.at
	}
	return r
}

// policy is what an operator allows in requests to one provider.
type policy struct {
	serverTools bool
	remoteURLs  bool
	parameters  []string // further members of the body
}

// rule judges a value; nil allows it.
type rule func(p policy, v value) *refusal

func anything(policy, value) *refusal { return nil }

// text allows strings, numbers, truth values and null: nothing with members.
func text(_ policy, v value) *refusal {
	if v.isObject() || v.isList() {
		return refuse(RuleBody, "must not be an object or a list")
	}
	return nil
}

// priced allows the classes of service that cost what the model's price says.
func priced(allowed ...string) rule {
	return func(_ policy, v value) *refusal {
		if v.isNull() || v.isText() && slices.Contains(allowed, v.text()) {
			return nil
		}
		return refuse(RulePrice, "must be one of %s: others have another price", strings.Join(allowed, ", "))
	}
}

// never refuses what refers to something that the provider keeps: everything but null and false.
func never(sentence string) rule {
	return func(_ policy, v value) *refusal {
		if v.isNull() || string(v) == "false" {
			return nil
		}
		return refuse(RuleState, "%s", sentence)
	}
}

// list allows lists of which every element is allowed, and null.
func list(of rule) rule {
	return func(p policy, v value) *refusal {
		if v.isNull() {
			return nil
		}
		if !v.isList() {
			return refuse(RuleBody, "must be a list")
		}
		i := 0
		for element := range v.elements() {
			if r := of(p, element); r != nil {
				return r.within(fmt.Sprintf("[%d]", i))
			}
			i++
		}
		return nil
	}
}

// textOr allows strings, null, and what another rule allows.
func textOr(other rule) rule {
	return func(p policy, v value) *refusal {
		if v.isText() || v.isNull() {
			return nil
		}
		return other(p, v)
	}
}

// object allows objects of which every member is known and allowed, and null.
func object(members map[string]rule) rule {
	return func(p policy, v value) *refusal {
		if v.isNull() {
			return nil
		}
		if !v.isObject() {
			return refuse(RuleBody, "must be an object")
		}
		for name, member := range v.members() {
			of, known := members[name]
			if !known {
				return unknown(name)
			}
			if r := of(p, member); r != nil {
				return r.within("." + name)
			}
		}
		return nil
	}
}

func unknown(name string) *refusal {
	return refuse(RuleMember, "the gateway does not know the member %.64q, and does not send what it does not know", name)
}

// shapes are the rules of objects by the string in one of their members, their tag.
type shapes struct {
	tag     string          // name of that member
	of      map[string]rule // by its value
	missing rule            // without that member; nil: it must be there
	other   func(p policy, tag string) *refusal
}

func (s shapes) judge(p policy, v value) *refusal {
	if !v.isObject() {
		return refuse(RuleBody, "must be an object")
	}
	tag := v.member(s.tag)
	switch {
	case (tag == nil || tag.isNull()) && s.missing != nil:
		return s.missing(p, v)
	case tag == nil || !tag.isText():
		return refuse(RuleBody, "must have a %s", s.tag)
	}
	if of, known := s.of[tag.text()]; known {
		return of(p, v)
	}
	return s.other(p, tag.text())
}

// fields makes rules for members that hold plain content.
func fields(names ...string) map[string]rule {
	all := make(map[string]rule, len(names))
	for _, name := range names {
		all[name] = anything
	}
	return all
}

// with adds rules of members.
func with(members map[string]rule, more map[string]rule) map[string]rule {
	for name, of := range more {
		members[name] = of
	}
	return members
}

// onlyServerTools allows what belongs to tools that the provider runs if they are allowed.
func onlyServerTools(p policy, what string) *refusal {
	if p.serverTools {
		return nil
	}
	return refuse(RuleServerTool, "%.64q is run by the provider, outside of what this session may reach, and the operator has not allowed it (server_tools); use a tool of the session", what)
}

// unknownPart refuses content of an unknown type.
func unknownPart(_ policy, tag string) *refusal {
	return refuse(RuleMember, "the gateway does not know content of type %.64q, and does not send what it does not know", tag)
}

// unknownTool refuses tools that the provider may run itself.
func unknownTool(p policy, tag string) *refusal { return onlyServerTools(p, tag) }

// dataURL allows content that is in the text itself.
func dataURL(p policy, v value) *refusal {
	if v.isNull() || strings.HasPrefix(v.text(), "data:") {
		return nil
	}
	return remoteURL(p, v)
}

func remoteURL(p policy, v value) *refusal {
	address := v.text()
	switch {
	case !p.remoteURLs:
		return refuse(RuleRemoteURL, "the provider would fetch an address, outside of what this session may reach, and the operator has not allowed it (remote_urls); send the content itself")
	case !strings.HasPrefix(address, "https://") && !strings.HasPrefix(address, "http://"):
		return refuse(RuleRemoteURL, "must be an address that begins with https://, or the content itself")
	}
	return nil
}

var storedFile = never(fileSentence)
