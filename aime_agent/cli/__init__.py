"""The aime-agent command."""
