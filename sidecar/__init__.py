"""The sidecar: answers entitlement questions beside an application and carries its usage up."""
