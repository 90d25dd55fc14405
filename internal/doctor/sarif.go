package doctor

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// SARIF is a log in the Static Analysis Results Interchange Format 2.1.0 (OASIS), as far as it is needed here: one run of
// Berth, with a rule for each check.
type SARIF struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver struct {
			Name    string      `json:"name"`
			Version string      `json:"version,omitempty"`
			Rules   []sarifRule `json:"rules"`
		} `json:"driver"`
	} `json:"tool"`
	Results []sarifResult `json:"results"`
}

type sarifRule struct {
	ID               string    `json:"id"`
	Name             string    `json:"name"`
	ShortDescription sarifText `json:"shortDescription"`
}

type sarifText struct {
	Text string `json:"text"`
}

// sarifResult is a finding. Kind and level go together: only the kind "fail" has another level than "none".
type sarifResult struct {
	RuleID     string            `json:"ruleId"` // the rule, a slash, and the finding's code
	RuleIndex  int               `json:"ruleIndex"`
	Kind       string            `json:"kind"`
	Level      string            `json:"level"`
	Message    sarifText         `json:"message"`
	Locations  []sarifLocation   `json:"locations,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
}

// sarifLocation is a file by its URI, relative paths relatively, or a line of it.
type sarifLocation struct {
	PhysicalLocation struct {
		ArtifactLocation struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region struct {
			StartLine int `json:"startLine,omitempty"` // from 1
		} `json:"region,omitzero"`
	} `json:"physicalLocation"`
}

const sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

// sarifKinds gives each status its kind and level.
var sarifKinds = map[Status][2]string{
	Pass:    {"pass", "none"},
	Warn:    {"fail", "warning"},
	Fail:    {"fail", "error"},
	Skipped: {"notApplicable", "none"},
}

// SARIF encodes the report for tools that read that format. version is Berth's version; it may be empty.
func (r Report) SARIF(version string) SARIF {
	run := sarifRun{Results: []sarifResult{}}
	driver := &run.Tool.Driver
	driver.Name, driver.Version, driver.Rules = "berth doctor", version, []sarifRule{}
	for i, result := range r.Results {
		driver.Rules = append(driver.Rules, sarifRule{ID: result.Check, Name: pascal(result.Check), ShortDescription: sarifText{result.Title}})
		for _, f := range result.Findings {
			run.Results = append(run.Results, f.sarif(result.Check, i))
		}
	}
	return SARIF{Schema: sarifSchema, Version: "2.1.0", Runs: []sarifRun{run}}
}

func (f Finding) sarif(check string, rule int) sarifResult {
	kind := sarifKinds[f.Status]
	result := sarifResult{RuleID: check + "/" + f.Code, RuleIndex: rule, Kind: kind[0], Level: kind[1], Message: sarifText{f.Seen}}
	if f.Remedy != "" {
		result.Message.Text += ". Remedy: " + f.Remedy
		result.Properties = map[string]string{"remedy": f.Remedy}
	}
	if f.Path != "" {
		var at sarifLocation
		at.PhysicalLocation.ArtifactLocation.URI = fileURI(f.Path)
		at.PhysicalLocation.Region.StartLine = f.Line
		result.Locations = []sarifLocation{at}
	}
	return result
}

func fileURI(path string) string {
	path = filepath.ToSlash(filepath.Clean(path))
	u := url.URL{Path: path}
	if strings.HasPrefix(path, "/") {
		u.Scheme = "file"
	}
	return u.String()
}

// pascal turns kebab-case into PascalCase, the format's form of rule names.
func pascal(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "-") {
		if word != "" {
			fmt.Fprintf(&b, "%s%s", strings.ToUpper(word[:1]), word[1:])
		}
	}
	return b.String()
}
