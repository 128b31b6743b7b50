// Package probe asks from outside what athd and Envoy answer: whether an athd is
// ready ([Ready]), and whether a public URL leads to it ([Gateway]). It sends
// nothing secret, follows no redirect, and bounds what it reads.
package probe
