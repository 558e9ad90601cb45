"""What the interfaces of tasks and models promise, as rules that find and mend what is wrong."""
