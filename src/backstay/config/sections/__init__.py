"""The declarations: each section of a plan, its keys, and how it is built. The root is `whole.PLAN`."""
